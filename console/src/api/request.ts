// The one way from the console to its server: signed, with clear errors, in time with the server's clock.

import { config } from './config'
import { ApiError, OfflineError, errorOf, isAbort } from './errors'
import { clock, serverNow } from '../session/clock'
import { end, session } from '../session/session'
import { type SigningKey, presign, sign } from '../session/signing'

export interface RequestOptions {
  method?: string
  headers?: HeadersInit
  body?: BodyInit | null
  signal?: AbortSignal
  service?: string
  /** Sign with this key rather than with the session's. */
  key?: SigningKey
  /** Hint of how urgent the answer is among others. */
  priority?: RequestPriority
}

const CLOCK_CODES = ['RequestTimeTooSkewed', 'InvalidSignatureException', 'SignatureDoesNotMatch', 'RequestExpired']

/** A signed request to this server; `path` begins with `/`. Raises `ApiError`, `OfflineError`, or AbortError. */
export async function request(path: string, options: RequestOptions = {}): Promise<Response> {
  const who = session.peek()
  const response = await attempt(path, options)
  if (response.ok || response.status === 304) return response
  const error = await errorOf(response)
  if (response.status === 403 && (await wasSkewed(error, response))) {
    const again = await attempt(path, options)
    if (again.ok) return again
    throw await errorOf(again)
  }
  // A late answer to one person does not end the session of the next.
  if (options.key === undefined && endsSession(error) && session.peek() === who) await end('Your session has ended. Sign in again.')
  throw error
}

/** The answer's JSON. */
export async function json<T>(path: string, options: RequestOptions & { json?: unknown } = {}): Promise<T> {
  const { json: value, ...rest } = options
  if (value !== undefined) {
    const headers = new Headers(rest.headers)
    headers.set('content-type', 'application/json')
    rest.headers = headers
    rest.body = JSON.stringify(value)
    rest.method ??= 'POST'
  }
  const response = await request(path, rest)
  const text = await response.text()
  return (text === '' ? {} : JSON.parse(text)) as T
}

/** A link that opens by itself for a few minutes, for downloads that the browser saves. */
export async function link(path: string, seconds = 300): Promise<string> {
  const key = session.value
  if (key === null) throw new ApiError(401, 'NotSignedIn', 'You are not signed in.')
  return presign(key, new URL(path, location.origin).toString(), { region: config.value.region, skew: clock.skew, seconds })
}

/** A request as it would be sent: for what `fetch` cannot do, such as telling how much of a body has been sent. */
export function signed(path: string, options: RequestOptions): Promise<{ url: string; method: string; headers: Headers }> {
  const key = options.key ?? session.value
  if (key === null) return Promise.reject(new ApiError(401, 'NotSignedIn', 'You are not signed in.'))
  return sign(key, new URL(path, location.origin).toString(), {
    method: options.method,
    headers: options.headers,
    body: options.body,
    service: options.service,
    region: config.value.region,
    skew: clock.skew
  })
}

async function attempt(path: string, options: RequestOptions): Promise<Response> {
  const { url, method, headers } = await signed(path, options)
  return fetched(url, {
    method,
    headers,
    body: options.body,
    signal: options.signal,
    priority: options.priority
  })
}

/** Without a signature: only what needs none. */
export async function unsigned(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetched(new URL(path, location.origin).toString(), init)
  if (!response.ok) throw await errorOf(response)
  return response
}

async function fetched(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...init, credentials: 'omit', referrerPolicy: 'no-referrer', redirect: 'error' })
  } catch (error) {
    if (isAbort(error)) throw error
    throw new OfflineError()
  }
}

/** Whether this machine's clock was off; from now on the server's counts. */
async function wasSkewed(error: ApiError, response: Response): Promise<boolean> {
  if (!CLOCK_CODES.includes(error.code)) return false
  const date = Date.parse(response.headers.get('date') ?? '')
  if (Number.isNaN(date) || Math.abs(date - serverNow()) < 60_000) return false
  clock.skew = date - Date.now()
  return true
}

function endsSession(error: ApiError): boolean {
  return ['ExpiredTokenException', 'ExpiredToken', 'UnrecognizedClientException', 'InvalidClientTokenId'].includes(error.code)
}
