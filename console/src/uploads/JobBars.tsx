import type { ComponentChildren } from 'preact'
import { useRef } from 'preact/hooks'
import { Badge } from '../ui/States'
import { count } from '../ui/format'
import type { Job } from '../api/imports'
import { Bar } from './Bar'
import { RecentRate, timeLeft } from './rate'

/** How far a job is: the two bars of `lightwell import`. */
export function JobBars({ job }: { job: Job }) {
  const rate = useRef<{ job: string; read: RecentRate; settled: RecentRate }>()
  if (rate.current?.job !== job.jobId) rate.current = { job: job.jobId, read: new RecentRate(), settled: new RecentRate() }
  const settled = job.importedFiles === null || job.failedFiles === null ? null : job.importedFiles + job.failedFiles + (job.notDicomFiles ?? 0)
  const isOver = job.phase === 'done'
  rate.current.read.add(job.readFiles)
  // Most are settled at the end, so that their rate says nothing before.
  if (settled !== null && job.phase === 'commit') rate.current.settled.add(settled)
  const total = job.phase === 'list' ? null : job.scannedFiles
  const detail = (from: RecentRate) => (isOver || total === null ? '' : [speed(from.perSecond), timeLeft(from.secondsLeft(total))].filter(Boolean).join(' · '))
  return (
    <div class="stack-tight">
      <Bar name="Read" done={job.readFiles} total={total} detail={detail(rate.current.read)} look={isOver && job.jobStatus === 'COMPLETED' ? 'good' : 'plain'} />
      {settled !== null && <Bar name="Imported" done={job.importedFiles ?? 0} total={total === null ? null : total - (job.notDicomFiles ?? 0)} detail={detail(rate.current.settled)} look={!isOver ? 'plain' : job.jobStatus === 'COMPLETED' ? 'good' : 'bad'} />}
    </div>
  )
}

function speed(perSecond: number | null): string {
  return perSecond === null ? '' : `${perSecond >= 10 ? Math.round(perSecond) : perSecond.toPrecision(2)} files/s`
}

/** A job's name as people read it; uploads have no names of their own, since file names may be those of patients. */
export function jobTitle(job: Job): string {
  const files = /^upload-of-(\d+)-files$/.exec(job.jobName ?? '')?.[1]
  if (files !== undefined) return `Upload of ${count(Number(files), 'file')}`
  return job.jobName ?? `Import job ${job.jobId.slice(0, 8)}`
}

const PHASES: Record<string, string> = { list: 'Finding files', read: 'Reading', commit: 'Importing', report: 'Writing the report' }

export function JobBadge({ job }: { job: Job }): ComponentChildren {
  if (job.jobStatus === 'SUBMITTED') return <Badge look="plain">Waiting</Badge>
  if (job.phase !== 'done') return <Badge look="accent">{PHASES[job.phase] ?? job.phase}</Badge>
  if (job.jobStatus === 'FAILED') return <Badge look="bad">{/ancelled/.test(job.message ?? '') ? 'Cancelled' : 'Failed'}</Badge>
  return job.failedFiles !== null && job.failedFiles > 0 ? <Badge look="warn">Completed, with failures</Badge> : <Badge look="good">Completed</Badge>
}
