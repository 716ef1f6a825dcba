// Who is signed in. Temporary credentials only; their secret is a key that cannot be read (see signing.ts), kept in
// IndexedDB so that a reload or another tab does not ask again.

import { signal } from '@preact/signals'
import { type SigningKey, signingKey } from './signing'

export interface Session extends SigningKey {
  arn: string
  /** Milliseconds since the epoch; null for an access key that could not be exchanged for a session. */
  expiresAt: number | null
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
  const made: Session = { ...key, arn, expiresAt: credentials.expiration ? Date.parse(credentials.expiration) : null }
  if (options.keep) await keep(made)
  endedBecause.value = null
  session.value = made
  watchEnd(made)
}

/** The session of an earlier load of the page or of another tab, if it still holds. */
export async function restore(): Promise<boolean> {
  const found = await kept()
  if (found === null) return false
  if (found.expiresAt !== null && found.expiresAt <= Date.now()) {
    await forget()
    return false
  }
  session.value = found
  watchEnd(found)
  return true
}

export async function end(reason: string | null = null): Promise<void> {
  clearTimeout(timer)
  await forget()
  endedBecause.value = reason
  session.value = null
}

let timer: ReturnType<typeof setTimeout> | undefined

function watchEnd(current: Session): void {
  clearTimeout(timer)
  if (current.expiresAt === null) return
  const left = Math.max(0, current.expiresAt - Date.now())
  // Longer waits than 2^31 ms end at once.
  timer = setTimeout(() => void end('Your session has expired. Sign in again.'), Math.min(left, 2 ** 31 - 1))
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
async function forget(): Promise<void> {
  await transaction('readwrite', (store) => store.delete('current')).catch(() => undefined)
}
