// The imports of this tab. They outlive pages, but neither the tab nor who is signed in.

import { computed, effect, signal } from '@preact/signals'
import { session } from '../session/session'
import type { Item } from './collect'
import { ImportRun } from './run'

export const runs = signal<ImportRun[]>([])
export const busyRuns = computed(() => runs.value.filter((run) => run.isBusy))

export function begin(store: string, items: Item[]): ImportRun | null {
  if (items.length === 0) return null
  const run = new ImportRun(store)
  runs.value = [run, ...runs.value]
  void run.begin(items)
  return run
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
