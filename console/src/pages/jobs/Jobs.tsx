import { useEffect, useRef, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { FolderInput, ListChecks } from 'lucide-preact'
import { type Job, listJobs } from '../../api/imports'
import { explain } from '../../api/errors'
import { Ago } from '../../ui/Ago'
import { Button, ButtonLink } from '../../ui/Button'
import { PageHeader } from '../../ui/PageHeader'
import { EmptyState, Loaded, Notice } from '../../ui/States'
import { count } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import { JobBadge, jobTitle } from '../../uploads/JobBars'
import { mayImport } from '../../uploads/rights'
import { JobPage } from './JobPage'
import '../../ui/Table.css'
import './jobs.css'

const POLL_MS = 2000

export default function Jobs({ store = '', job }: { store?: string; job?: string }) {
  return job === undefined || job === '' ? <JobList store={store} /> : <JobPage key={job} store={store} id={job} />
}

function JobList({ store }: { store: string }) {
  const first = useResource((signal) => listJobs(store, {}, signal), [store])
  const [more, setMore] = useState<{ jobs: Job[]; nextToken: string | null } | null>(null)
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const isAllowed = mayImport(store)
  useEffect(() => setMore(null), [store])
  const isRunning = first.data?.jobs.some((job) => job.phase !== 'done') ?? false
  const isLoading = useRef(first.isLoading)
  isLoading.current = first.isLoading
  useEffect(() => {
    if (!isRunning) return
    // What is still on its way would be given up, so that on a slow line nothing ever came.
    const timer = setInterval(() => !document.hidden && !isLoading.current && first.reload(), POLL_MS)
    return () => clearInterval(timer)
  }, [isRunning, store])
  const next = more === null ? first.data?.nextToken : more.nextToken
  const loadMore = async () => {
    setBusy(true)
    setError(undefined)
    try {
      const page = await listJobs(store, { nextToken: next })
      setMore({ jobs: [...(more?.jobs ?? []), ...page.jobs], nextToken: page.nextToken })
    } catch (failure) {
      setError(failure)
    }
    setBusy(false)
  }
  return (
    <div class="stack">
      <PageHeader title="Jobs" lead="Imports into this data store, newest first" actions={isAllowed && <ButtonLink look="primary" icon={<FolderInput />} href={`/console/stores/${store}/import`}>Import</ButtonLink>} />
      <Loaded resource={first} lines={6}>
        {(page) => {
          const seen = new Set<string>()
          const jobs = [...page.jobs, ...(more?.jobs ?? [])].filter((job) => !seen.has(job.jobId) && seen.add(job.jobId))
          if (jobs.length === 0) {
            return <EmptyState icon={<ListChecks />} title="No import jobs yet" action={isAllowed && <ButtonLink href={`/console/stores/${store}/import`}>Import something</ButtonLink>}>Each import is a job, which tells what became of each file.</EmptyState>
          }
          return (
            <>
              <table class="table stacks">
                <thead><tr><th>Job</th><th>Status</th><th>Submitted</th><th class="right">Files</th><th class="right">Imported</th><th class="right">Not imported</th></tr></thead>
                <tbody>{jobs.map((job) => <Row key={job.jobId} store={store} job={job} />)}</tbody>
              </table>
              {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
              {next != null && <div><Button isBusy={isBusy} onClick={() => void loadMore()}>Show more</Button></div>}
            </>
          )
        }}
      </Loaded>
    </div>
  )
}

function Row({ store, job }: { store: string; job: Job }) {
  const { route } = useLocation()
  const href = `/console/stores/${store}/jobs/${job.jobId}`
  return (
    <tr class="link" onClick={(event) => { if (!(event.target instanceof HTMLAnchorElement)) route(href) }}>
      <td data-label="Job"><a href={href}>{jobTitle(job)}</a></td>
      <td data-label="Status"><JobBadge job={job} /></td>
      <td data-label="Submitted"><Ago at={job.submittedAt} /></td>
      <td data-label="Files" class="right">{count(job.scannedFiles)}</td>
      <td data-label="Imported" class="right">{job.importedFiles === null ? '' : count(job.importedFiles)}</td>
      <td data-label="Not imported" class="right">{job.failedFiles === null ? '' : count(job.failedFiles)}</td>
    </tr>
  )
}
