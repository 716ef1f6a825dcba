// A time as how long ago it was, which grows older on the page.

import { signal } from '@preact/signals'
import { ago, time } from './format'

const EVERY_MS = 10_000

const ticks = signal(0)
let clock: ReturnType<typeof setInterval> | undefined

export function Ago({ at }: { at: number | string }) {
  clock ??= setInterval(() => ticks.value++, EVERY_MS)
  void ticks.value
  return <time dateTime={typeof at === 'string' ? at : undefined} title={time(at)}>{ago(at)}</time>
}
