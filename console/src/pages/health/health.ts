// How the installation is, looked at every few seconds while the page is open.

import { signal } from '@preact/signals'
import { call } from '../../api/consoleApi'
import { type Look, parse } from './metrics'

export interface Health {
  version: string
  server: string
  work: string
  isReady: boolean
  checks: { name: string; code: string; reason: string | null }[]
  installation: Installation | null
  message: string | null
}

export interface Installation {
  database: string
  databaseAddress: string
  databaseBytes: number
  schema: string
  storage: string
  diskFree: number
  diskTotal: number
  servers: { place: string; role: string; isAlive: boolean; heardSeconds: number }[]
  workforce: { working: number; servingOnly: number; jobs: number } | null
  awaited: { place: string | null; jobs: number; heardSeconds: number | null }[]
  queue: { phase: string; state: string; units: number; oldestSeconds: number }[]
}

export const EVERY_MS = 5000
/** What the plots show. */
export const SPAN_MS = 10 * 60_000
const MOST = SPAN_MS / EVERY_MS + 2

/** Looks at each server's counters, oldest first: behind one address there may be several. */
export const looks = signal<Record<string, Look[]>>({})

export const health = (abort?: AbortSignal) => call<Health>('health', { signal: abort })

/** Looks at the counters of the server that answers, and returns its name. */
export async function look(abort?: AbortSignal): Promise<string> {
  const { server, text } = await call<{ server: string; text: string }>('metrics', { signal: abort })
  const before = looks.value[server] ?? []
  looks.value = { ...looks.value, [server]: [...before, { at: Date.now(), metrics: parse(text) }].slice(-MOST) }
  return server
}
