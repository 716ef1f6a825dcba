// The imports of this tab. They outlive pages, but neither the tab nor who is signed in.

import { computed, effect, signal } from '@preact/signals'
import { explain } from '../api/errors'
import { session } from '../session/session'
import { toast } from '../ui/Toasts'
import { count } from '../ui/format'
import type { Item } from './collect'
import { ImportRun, type RunPhase } from './run'

export const runs = signal<ImportRun[]>([])
export const busyRuns = computed(() => runs.value.filter((run) => run.isBusy))

export function begin(store: string, items: Item[]): ImportRun | null {
  if (items.length === 0) return null
  const run = new ImportRun(store)
  runs.value = [run, ...runs.value]
  void run.begin(items)
  announce(run)
  return run
}

/** Tell on other pages what came of it. */
function announce(run: ImportRun): void {
  let told: RunPhase | null = null
  const stop = effect(() => {
    const phase = run.phase.value
    // Not within the effect, which would depend on all that is read on the way.
    queueMicrotask(() => {
      if (phase === told) return
      told = phase
      if (phase === 'done') stop()
      if (location.pathname !== `/console/stores/${run.store}/import`) tell(run, phase)
    })
  })
}

function tell(run: ImportRun, phase: RunPhase): void {
  const job = run.job.peek()
  if (phase === 'incomplete') toast('Some files could not be sent. The import waits for you on its page.', 'bad')
  else if (phase === 'unwatched') toast(`The import job is not followed here any more: ${explain(run.error.peek())} That has not stopped it.`, 'bad')
  else if (phase === 'failed') toast(`The import has stopped: ${job?.message ?? explain(run.error.peek())}`, 'bad')
  else if (phase === 'done') toast(job?.failedFiles ? `Imported ${count(job.importedFiles ?? 0, 'file')}; ${count(job.failedFiles)} could not be imported.` : `Imported ${count(job?.importedFiles ?? 0, 'file')}.`, 'good')
}

export function dismiss(run: ImportRun): void {
  run.leave()
  runs.value = runs.value.filter((each) => each !== run)
}

// The browser asks before the tab is left while files are being sent.
const warn = (event: BeforeUnloadEvent) => event.preventDefault()
effect(() => {
  if (busyRuns.value.length > 0) window.addEventListener('beforeunload', warn)
  else window.removeEventListener('beforeunload', warn)
})

// What one person has dropped is no business of the next.
let owner: string | null = null
effect(() => {
  const arn = session.value?.arn ?? null
  if (arn === null) return
  if (owner !== null && owner !== arn) {
    for (const run of runs.peek()) run.leave()
    runs.value = []
  }
  owner = arn
})
