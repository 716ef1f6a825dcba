// Who is signed in. Temporary credentials only; their secret is a key that cannot be read (see signing.ts), kept in
// IndexedDB so that a reload or another tab does not ask again.

import { effect, signal, untracked } from '@preact/signals'
import { clock, serverNow } from './clock'
import { type SigningKey, signingKey } from './signing'

export interface Session extends SigningKey {
  arn: string
  /** Milliseconds since the epoch; null for an access key that could not be exchanged for a session. */
  expiresAt: number | null
  /** How far this machine's clock was off, so that a reload does not take a session that holds for one that has expired. */
  skew?: number
}

/** What STS and the exchange of a one-time link answer. */
export interface Credentials {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
  expiration?: string
}

export const session = signal<Session | null>(null)
/** Why the last session ended, shown on the sign-in page. */
export const endedBecause = signal<string | null>(null)

export const canSign = typeof crypto !== 'undefined' && crypto.subtle !== undefined

export async function begin(credentials: Credentials, arn: string, options: { keep: boolean }): Promise<void> {
  const key = await signingKey(credentials.accessKeyId, credentials.secretAccessKey, credentials.sessionToken)
  const made: Session = { ...key, arn, expiresAt: credentials.expiration ? Date.parse(credentials.expiration) : null, skew: clock.skew }
  if (options.keep) await keep(made)
  isKept = options.keep
  endedBecause.value = null
  session.value = made
  watchEnd(made)
  if (options.keep) tell({ is: 'begun', arn })
}

/** The session of an earlier load of the page or of another tab, if it still holds. */
export async function restore(): Promise<boolean> {
  const found = await kept()
  if (found === null) return false
  clock.skew = found.skew ?? clock.skew
  if (found.expiresAt !== null && found.expiresAt <= serverNow()) {
    await forget(found.accessKeyId)
    return false
  }
  isKept = true
  session.value = found
  watchEnd(found)
  return true
}

export async function end(reason: string | null = null): Promise<void> {
  const ending = session.peek()
  stopHere(reason)
  if (ending === null) return
  tell({ is: 'ended', accessKeyId: ending.accessKeyId, reason })
  await forget(ending.accessKeyId)
}

function stopHere(reason: string | null): void {
  clearTimeout(timer)
  endedBecause.value = reason
  session.value = null
}

/** Calls `clear` when somebody else signs in than before; the same person finds again what they left. */
export function onOtherPerson(clear: () => void): void {
  let owner: string | null = null
  effect(() => {
    const arn = session.value?.arn ?? null
    if (arn === null) return
    if (owner !== null && owner !== arn) untracked(clear)
    owner = arn
  })
}

type News = { is: 'begun'; arn: string } | { is: 'ended'; accessKeyId: string; reason: string | null }

let tabs: BroadcastChannel | undefined
/** Whether the session of this tab is the one that all tabs share. */
let isKept = false

/** From now on a session that ends in one tab ends in all. */
export function listenToTabs(): void {
  if (typeof BroadcastChannel === 'undefined') return
  tabs = new BroadcastChannel('lightwell-session')
  tabs.onmessage = ({ data }: MessageEvent<News>) => {
    const own = session.peek()
    if (own === null) return
    if (data.is === 'ended' && data.accessKeyId === own.accessKeyId) stopHere(data.reason)
    // What is kept is another person's now; a reload of this tab would be theirs.
    else if (data.is === 'begun' && isKept && data.arn !== own.arn) stopHere('Somebody else has signed in in another tab.')
  }
}

function tell(news: News): void {
  tabs?.postMessage(news)
}

let timer: ReturnType<typeof setTimeout> | undefined

function watchEnd(current: Session): void {
  clearTimeout(timer)
  if (current.expiresAt === null) return
  const left = current.expiresAt - serverNow()
  if (left <= 0) {
    void end('Your session has expired. Sign in again.')
    return
  }
  // Looked at again then: that the clock is wrong may have come out meanwhile, and no timer waits longer than 2^31 ms.
  timer = setTimeout(() => watchEnd(current), Math.min(left, 2 ** 31 - 1))
}

const DATABASE = 'lightwell-session'
const STORE = 'session'

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(STORE)
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

async function transaction<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const db = await open()
  try {
    return await new Promise<T>((resolve, reject) => {
      const change = db.transaction(STORE, mode)
      const request = work(change.objectStore(STORE))
      change.oncomplete = () => resolve(request.result)
      change.onerror = change.onabort = () => reject(change.error)
    })
  } finally {
    db.close()
  }
}

// A browser that keeps nothing (private windows of some) still works: the session then ends with the page.
async function keep(made: Session): Promise<void> {
  await transaction('readwrite', (store) => store.put(made, 'current')).catch(() => undefined)
}
async function kept(): Promise<Session | null> {
  return (await transaction<Session | undefined>('readonly', (store) => store.get('current')).catch(() => undefined)) ?? null
}
/** Only one's own: another person may have signed in meanwhile. */
async function forget(accessKeyId: string): Promise<void> {
  await transaction('readwrite', (store) => {
    const request = store.get('current') as IDBRequest<Session | undefined>
    request.onsuccess = () => {
      if (request.result?.accessKeyId === accessKeyId) store.delete('current')
    }
    return request
  }).catch(() => undefined)
}
