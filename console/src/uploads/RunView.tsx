import { useState } from 'preact/hooks'
import { Pause, Play, RefreshCw, X } from 'lucide-preact'
import { explain } from '../api/errors'
import { Button, ButtonLink, IconButton } from '../ui/Button'
import { confirm } from '../ui/Dialog'
import { Badge, Notice } from '../ui/States'
import { bytes, count } from '../ui/format'
import { JobResult } from '../pages/jobs/JobResult'
import { Bar } from './Bar'
import type { LeftOut } from './collect'
import { JobBadge, JobBars } from './JobBars'
import { timeLeft } from './rate'
import type { ImportRun } from './run'
import { dismiss } from './runs'

/** One import from this browser, from the drop to its result. */
export function RunView({ run }: { run: ImportRun }) {
  const phase = run.phase.value
  const job = run.job.value
  const files = run.files.value
  const [isBusy, setBusy] = useState(false)
  const act = async (work: () => Promise<void>) => {
    setBusy(true)
    await work().finally(() => setBusy(false))
  }
  const isOver = phase === 'done' || phase === 'unwatched' || phase === 'empty' || (phase === 'failed' && (job === null || job.phase === 'done'))
  return (
    <section class="run" aria-label={`Import of ${run.label.value || 'files'}`} data-testid="run">
      <div class="run-head">
        <h3>{run.label.value || 'Looking at what was dropped'}</h3>
        <span role="status">{job !== null && phase !== 'unwatched' ? <JobBadge job={job} /> : <State run={run} />}</span>
        {run.jobId.value !== null && <ButtonLink look="quiet" href={`/console/stores/${run.store}/jobs/${run.jobId.value}`}>Show the job</ButtonLink>}
        {phase === 'sending' && <Button look="quiet" icon={<Pause />} onClick={() => run.pause()}>Pause</Button>}
        {(phase === 'paused' || (phase === 'failed' && job === null)) && <Button icon={<Play />} onClick={() => void run.resume()}>Go on</Button>}
        {phase === 'unwatched' && <Button icon={<RefreshCw />} onClick={() => void run.resume()}>Follow it again</Button>}
        {(!isOver || phase === 'unwatched') && <Button look="quiet" icon={<X />} onClick={() => void cancel(run)}>Cancel</Button>}
        {isOver && <IconButton label={`Dismiss ${run.label.value}`} onClick={() => dismiss(run)}><X /></IconButton>}
      </div>
      {phase === 'collecting' && <p class="soft">{run.seen.value > 0 ? `${count(run.seen.value, 'file')} so far` : 'Finding files…'}</p>}
      {files > 0 && (
        <div class="stack-tight">
          <Bar
            name="Sent"
            done={run.sentFiles.value}
            total={files}
            look={run.jobId.value !== null ? 'good' : 'plain'}
            detail={run.jobId.value !== null ? '' : sendingDetail(run)}
          />
          {job !== null && phase !== 'unwatched' && <JobBars job={job} />}
        </div>
      )}
      {run.waiting.value !== null && phase === 'sending' && <Notice look="warn">{run.waiting.value}</Notice>}
      {phase === 'failed' && run.error.value !== undefined && <Notice look="bad">{explain(run.error.value)}</Notice>}
      {phase === 'unwatched' && <Notice look="warn">{explain(run.error.value)} So this page does not follow the job any more. That has not stopped it.</Notice>}
      {phase === 'empty' && <Notice look="warn">{nothing(run)}</Notice>}
      {phase === 'incomplete' && (
        <Notice look="warn">
          <div class="stack-tight">
            <span>{count(run.unreadable.value.length, 'file')} could not be sent, so nothing is imported yet.</span>
            <span class="row-wrap">
              <Button icon={<RefreshCw />} onClick={() => void run.resume()}>Try them again</Button>
              {run.sentFiles.value > 0 && <Button isBusy={isBusy} onClick={() => void act(() => run.startJob())}>Import the other {count(run.sentFiles.value)}</Button>}
            </span>
          </div>
        </Notice>
      )}
      <Names title={phase === 'empty' ? 'could not be read' : 'could not be sent'} names={run.unreadable.value} isOpen />
      <Names title="left out, since they are no DICOM files" names={run.leftOut.value} />
      {job !== null && job.phase === 'done' && <JobResult store={run.store} job={job} />}
    </section>
  )
}

function State({ run }: { run: ImportRun }) {
  switch (run.phase.value) {
    case 'collecting': return <Badge>Looking</Badge>
    case 'sending': return <Badge look="accent">{run.waiting.value === null ? 'Sending' : 'Waiting'}</Badge>
    case 'paused': return <Badge look="warn">Paused</Badge>
    case 'incomplete': return <Badge look="warn">Not complete</Badge>
    case 'importing': return <Badge look="accent">Starting</Badge>
    case 'unwatched': return <Badge look="warn">Not followed</Badge>
    case 'failed': return <Badge look="bad">Stopped</Badge>
    case 'empty': return run.unreadable.value.length > 0 ? <Badge look="bad">Not readable</Badge> : <Badge look="warn">Nothing to import</Badge>
    case 'done': return null
  }
}

function nothing(run: ImportRun): string {
  if (run.unreadable.value.length > 0) return 'Nothing is imported: what was dropped could not be read.'
  return `There is nothing to import in what was dropped${run.leftOut.value.length > 0 ? ': all of its files are of other kinds' : ''}.`
}

function sendingDetail(run: ImportRun): string {
  const rate = run.rate.perSecond
  return [
    `${bytes(run.sentBytes.value)} of ${bytes(run.bytes.value)}`,
    run.before.value > 0 ? `${count(run.before.value)} had arrived before` : '',
    run.phase.value === 'sending' && rate !== null ? `${bytes(rate)}/s` : '',
    run.phase.value === 'sending' ? timeLeft(run.rate.secondsFor(run.bytes.value - run.sentBytes.value)) : ''
  ].filter(Boolean).join(' · ')
}

const MOST_NAMES = 200

function Names({ title, names, isOpen = false }: { title: string; names: LeftOut[]; isOpen?: boolean }) {
  if (names.length === 0) return null
  return (
    <details class="names" open={isOpen && names.length <= 5}>
      <summary class="soft">{count(names.length, 'file')} {title}</summary>
      <ul class="small" tabIndex={0} aria-label={title}>
        {names.slice(0, MOST_NAMES).map((each) => <li key={each.path}><span>{each.path}</span><span class="faint">{each.reason}</span></li>)}
        {names.length > MOST_NAMES && <li class="faint">and {count(names.length - MOST_NAMES)} more</li>}
      </ul>
    </details>
  )
}

function cancel(run: ImportRun) {
  const isJob = run.jobId.value !== null
  return confirm(
    {
      title: isJob ? 'Cancel the import?' : 'Cancel the upload?',
      children: isJob
        ? 'Files that are in image sets already stay there. The others are not imported.'
        : `Nothing has been imported. The ${count(run.sentFiles.value, 'file')} that have been sent are removed from the server.`,
      action: isJob ? 'Cancel the import' : 'Cancel the upload',
      look: 'danger'
    },
    async () => {
      await run.cancel()
      // It may have become a job meanwhile, which is shown until it ends.
      if (run.jobId.value === null) dismiss(run)
    }
  )
}
