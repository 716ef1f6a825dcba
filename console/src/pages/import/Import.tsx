import { useEffect, useRef, useState } from 'preact/hooks'
import { FilePlus, FolderInput, FolderPlus, RefreshCw, Trash2, X } from 'lucide-preact'
import { type Upload, discardUpload, listJobs, listUploads, startDICOMImportJob } from '../../api/imports'
import { ApiError, explain } from '../../api/errors'
import { currentStore } from '../../app/stores'
import { useAllowed, datastoreArn } from '../../session/allowed'
import { Button, ButtonLink, IconButton } from '../../ui/Button'
import { confirm } from '../../ui/Dialog'
import { PageHeader } from '../../ui/PageHeader'
import { EmptyState, Notice, Skeleton } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { count, time } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import { RunView } from '../../uploads/RunView'
import { itemsOfInput } from '../../uploads/collect'
import { mayImport } from '../../uploads/rights'
import { begin, runs } from '../../uploads/runs'
import { JobBadge, JobBars, jobTitle } from '../../uploads/JobBars'
import { JobResult } from '../jobs/JobResult'
import { useJob } from '../jobs/useJob'
import { S3Form } from './S3Form'
import '../../uploads/uploads.css'
import './import.css'

export default function Import({ store = '' }: { store?: string }) {
  const isAllowed = mayImport(store)
  const mayStart = useAllowed('medical-imaging:StartDICOMImportJob', datastoreArn(store))
  const name = currentStore.value?.datastoreName
  const own = runs.value.filter((run) => run.store === store)
  if (isAllowed === undefined) return <><PageHeader title="Import" /><Skeleton /></>
  return (
    <div class="stack">
      <PageHeader title="Import" lead={name === undefined ? undefined : `Into ${name}`} />
      {isAllowed ? <Picker store={store} isSmall={own.length > 0} /> : (
        <EmptyState icon={<FolderInput />} title="You may not import files here">
          Ask an administrator to allow <code>medical-imaging:StartDICOMImportJob</code> on this data store and <code>iam:PassRole</code> on the role <code>lightwell-console-import-{store}</code>.
        </EmptyState>
      )}
      {own.length > 0 && <div>{own.map((run) => <RunView key={run.id} run={run} />)}</div>}
      {isAllowed && <Earlier key={store} store={store} />}
      {mayStart && <S3Form store={store} />}
    </div>
  )
}

function Picker({ store, isSmall }: { store: string; isSmall: boolean }) {
  const files = useRef<HTMLInputElement>(null)
  const folder = useRef<HTMLInputElement>(null)
  const take = (input: HTMLInputElement) => {
    begin(store, itemsOfInput(input))
    // The same files again are a change, too.
    input.value = ''
  }
  return (
    <div class={`picker ${isSmall ? 'small-picker' : ''}`}>
      <FolderInput aria-hidden="true" />
      <div class="stack-tight">
        <h2>Drop files, folders or zip files here</h2>
        <p class="soft small">One job reads all that is dropped together. Dropping the same folder again sends only what is missing.</p>
      </div>
      <div class="row-wrap">
        <Button look="primary" icon={<FolderPlus />} class="pick-folder" onClick={() => folder.current?.click()}>Choose a folder</Button>
        <Button icon={<FilePlus />} onClick={() => files.current?.click()}>Choose files</Button>
      </div>
      <input ref={files} type="file" multiple hidden data-testid="pick-files" onChange={(event) => take(event.currentTarget)} />
      <input ref={(input) => { folder.current = input; if (input !== null) input.webkitdirectory = true }} type="file" multiple hidden data-testid="pick-folder" onChange={(event) => take(event.currentTarget)} />
    </div>
  )
}

/** What earlier loads of the page have left: jobs that run, uploads that are not complete, files that could not be imported. */
function Earlier({ store }: { store: string }) {
  const here = runs.value
  const over = here.filter((run) => run.job.value?.phase === 'done').length
  const found = useResource(async (signal) => {
    const [uploads, running] = await Promise.all([
      listUploads(store, signal),
      listJobs(store, { running: true }, signal).catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 403) return { jobs: [], nextToken: null }
        throw error
      })
    ])
    return { uploads, jobs: running.jobs }
  }, [store, here.length, over])
  // A job that was seen to run stays on the page when it has ended, with what came of it, until it is dismissed.
  const [seen, setSeen] = useState<readonly string[]>([])
  const running = found.data?.jobs.filter((job) => job.isOwn).map((job) => job.jobId) ?? []
  const isNew = running.some((id) => !seen.includes(id))
  useEffect(() => {
    if (isNew) setSeen([...seen, ...running.filter((id) => !seen.includes(id))])
  }, [isNew])
  if (found.data === undefined) return found.error === undefined ? null : <Notice look="bad">{explain(found.error)}</Notice>
  const shown = new Set(here.flatMap((run) => [run.uploadId.value, run.jobId.value]))
  const jobs = seen.filter((id) => !shown.has(id))
  const uploads = found.data.uploads.filter((upload) => !shown.has(upload.uploadId) && (upload.jobId === null || (upload.leftFiles ?? 0) > 0))
  if (jobs.length === 0 && uploads.length === 0) return null
  return (
    <section>
      <h2>From before</h2>
      {jobs.map((id) => <EarlierJob key={id} store={store} id={id} onEnd={found.reload} onDismiss={() => setSeen(seen.filter((each) => each !== id))} />)}
      {uploads.map((upload) => <EarlierUpload key={upload.uploadId} store={store} upload={upload} reload={found.reload} />)}
    </section>
  )
}

function EarlierJob({ store, id, onEnd, onDismiss }: { store: string; id: string; onEnd: () => void; onDismiss: () => void }) {
  const { job, error } = useJob(store, id, onEnd)
  if (job === undefined) return error === undefined ? <Skeleton lines={2} /> : <Notice look="bad">{explain(error)}</Notice>
  const isOver = job.phase === 'done'
  return (
    <section class="run">
      <div class="run-head">
        <h3>{jobTitle(job)}</h3>
        <span role="status"><JobBadge job={job} /></span>
        <ButtonLink look="quiet" href={`/console/stores/${store}/jobs/${id}`}>Show the job</ButtonLink>
        {isOver && <IconButton label={`Dismiss ${jobTitle(job)}`} onClick={onDismiss}><X /></IconButton>}
      </div>
      <JobBars job={job} />
      {isOver && <JobResult store={store} job={job} />}
    </section>
  )
}

function EarlierUpload({ store, upload, reload }: { store: string; upload: Upload; reload: () => void }) {
  const [isBusy, setBusy] = useState(false)
  const missing = upload.files - upload.arrivedFiles
  const isLeft = upload.leftFiles !== null
  const there = upload.leftFiles ?? upload.arrivedFiles
  const start = async () => {
    setBusy(true)
    try {
      await startDICOMImportJob(store, {
        inputS3Uri: upload.inputS3Uri,
        outputS3Uri: upload.outputS3Uri,
        dataAccessRoleArn: upload.dataAccessRoleArn,
        clientToken: isLeft ? crypto.randomUUID() : upload.uploadId,
        jobName: `upload-of-${there}-files`
      })
      reload()
    } catch (error) {
      toast(explain(error), 'bad')
    }
    setBusy(false)
  }
  const discard = () =>
    confirm(
      {
        title: `Discard “${upload.name}”?`,
        children: `${count(there, 'file')} on the server, ${isLeft ? 'that could not be imported' : 'of which nothing is imported yet'}, will be removed. The originals on your machine stay.`,
        action: 'Discard',
        look: 'danger'
      },
      async () => {
        await discardUpload(store, upload.uploadId)
        reload()
      }
    )
  return (
    <section class="run" aria-label={upload.name}>
      <div class="run-head">
        <h3>{upload.name}</h3>
        {isLeft && <ButtonLink look="quiet" href={`/console/stores/${store}/jobs/${upload.jobId}`}>Show the job</ButtonLink>}
        {there > 0 && <Button isBusy={isBusy} icon={<RefreshCw />} onClick={() => void start()}>{isLeft ? 'Try again' : missing > 0 ? 'Import what has arrived' : 'Import'}</Button>}
        <Button look="quiet" icon={<Trash2 />} onClick={() => void discard()}>Discard</Button>
      </div>
      <p class="soft">
        {isLeft
          ? `${count(there)} of ${count(upload.files, 'file')} ${there === 1 ? 'was' : 'were'} not imported.`
          : missing > 0
            ? `${count(upload.arrivedFiles)} of ${count(upload.files, 'file')} have arrived, ${count(missing)} are missing. Drop the same files again to send those.`
            : `All of its ${count(upload.files, 'file')} have arrived, and none is imported yet.`}
        {upload.keptUntil !== null && ` Kept until ${time(upload.keptUntil)}.`}
      </p>
    </section>
  )
}
