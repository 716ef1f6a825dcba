import { Download, Images } from 'lucide-preact'
import { type Job, type Reason, getReasons, reportPath } from '../../api/imports'
import { ApiError, explain } from '../../api/errors'
import { link } from '../../api/request'
import { Button, ButtonLink } from '../../ui/Button'
import { Loaded, Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { count } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import { EVERYTHING, NEWEST, setQuery } from '../studies/query'
import './jobs.css'

/** What came of a job, or has so far: why files were not imported, what was, the report. */
export function JobResult({ store, job }: { store: string; job: Job }) {
  const isOver = job.phase === 'done'
  // While it runs, asked again only when more files have failed.
  const reasons = useResource((signal) => getReasons(store, job.jobId, signal), [store, job.jobId, isOver, isOver ? 0 : job.failedFiles])
  return (
    <div class="stack">
      {job.jobStatus === 'FAILED' && job.message !== null && <Notice look="bad">{job.message}</Notice>}
      {job.isPruned ? (
        <Notice>The database no longer knows what became of each file. The report does: {job.outputS3Uri}</Notice>
      ) : reasons.error instanceof ApiError && reasons.error.status === 403 ? (
        <Notice>What became of each file is shown to who has started the job, and to those who may read its report: names of files may be those of patients.</Notice>
      ) : (
        <Loaded resource={reasons} lines={2}>
          {(found) => (
            <>
              {isOver && job.jobStatus === 'COMPLETED' && <p>{summary(job, found.alreadyThere)}</p>}
              {found.studyInstanceUids.length > 0 && (
                <p><ButtonLink look="primary" icon={<Images />} href={`/console/stores/${store}`} onClick={() => show(store, found.studyInstanceUids)}>Show {found.studyInstanceUids.length === 1 ? 'the study' : `the ${count(found.studyInstanceUids.length)} studies`}</ButtonLink></p>
              )}
              <Causes title="Not imported" causes={found.failures} look="bad" hint="Have these files sent again by the system that they come from, or corrected there. The report names every one of them." />
              {found.notDicom > 0 && (
                <details class="causes">
                  <summary>{count(found.notDicom, 'file')} {found.notDicom === 1 ? 'is' : 'are'} not DICOM</summary>
                  <ul class="small soft" tabIndex={0} aria-label="Files that are not DICOM">{found.notDicomNames.map((name) => <li key={name}>{name}</li>)}{found.notDicom > found.notDicomNames.length && <li class="faint">and {count(found.notDicom - found.notDicomNames.length)} more</li>}</ul>
                </details>
              )}
              <Causes title="Imported with a warning" causes={found.warnings} look="warn" />
              {found.isPartial && <p class="faint small">There are more files with a reason than were looked at. The report has all.</p>}
            </>
          )}
        </Loaded>
      )}
      {isOver && job.jobStatus === 'COMPLETED' && reasons.data !== undefined && (
        <div class="row-wrap">
          <span class="soft">Report:</span>
          <ReportButton store={store} job={job} part="failure" label="Failures" />
          <ReportButton store={store} job={job} part="success" label="Imported" />
          <ReportButton store={store} job={job} part="warning" label="Warnings" />
          <ReportButton store={store} job={job} part="manifest" label="Summary" />
        </div>
      )}
    </div>
  )
}

const MOST_NAMED = 100

/** Lets the page of studies show just these; more than it can name are among the newest. */
function show(store: string, uids: string[]) {
  setQuery(store, uids.length > MOST_NAMED ? { ...EVERYTHING, ...NEWEST } : { ...EVERYTHING, ...NEWEST, studyInstanceUids: uids, label: `${count(uids.length, 'study', 'studies')} of an import` })
}

function summary(job: Job, alreadyThere: number): string {
  const dicom = job.scannedFiles - (job.notDicomFiles ?? 0)
  if (dicom === 0) return 'There was no DICOM file among them.'
  const there = alreadyThere === 0 ? '' : ` ${count(alreadyThere)} of them ${alreadyThere === 1 ? 'was' : 'were'} stored already and not stored again.`
  return `${count(job.importedFiles ?? 0)} of ${count(dicom, 'DICOM file')} imported.${there}`
}

function Causes({ title, causes, look, hint }: { title: string; causes: Reason[]; look: 'bad' | 'warn'; hint?: string }) {
  if (causes.length === 0) return null
  const files = causes.reduce((sum, cause) => sum + cause.files, 0)
  return (
    <details class="causes" open={look === 'bad'}>
      <summary><span class={look}>{title}</span> <span class="faint number">{count(files)}</span></summary>
      <ul tabIndex={0} aria-label={title}>
        {causes.map((cause) => (
          <li key={cause.reason}>
            <span class="number faint">{count(cause.files)}</span>
            <span>{cause.reason.replace(/^[a-z](?=[a-z]* )/, (letter) => letter.toUpperCase())}<br /><span class="faint small">such as {cause.example}</span></span>
          </li>
        ))}
      </ul>
      {hint && <p class="soft small">{hint}</p>}
    </details>
  )
}

function ReportButton({ store, job, part, label }: { store: string; job: Job; part: 'manifest' | 'success' | 'failure' | 'warning'; label: string }) {
  const save = async () => {
    try {
      const anchor = document.createElement('a')
      anchor.href = await link(reportPath(store, job.jobId, part))
      anchor.download = ''
      anchor.click()
    } catch (error) {
      toast(explain(error), 'bad')
    }
  }
  return <Button look="quiet" icon={<Download />} onClick={() => void save()}>{label}</Button>
}
