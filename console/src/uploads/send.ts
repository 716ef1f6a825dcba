// Sends one file of an upload, and says how much of it has been sent meanwhile, which `fetch` cannot.

import { ApiError, OfflineError, errorOf } from '../api/errors'
import { signed } from '../api/request'

/** So long nothing of a file need be sent before it is tried again. */
const STALLED_MS = 60_000
/** So long the server may take to keep what it has received: a large file goes to a bucket. */
const KEEPING_MS = 900_000

export interface Sending {
  path: string
  name: string
  digest: string
  content: Blob | ArrayBuffer
  signal: AbortSignal
  onSent: (bytes: number) => void
}

export async function send({ path, name, digest, content, signal, onSent }: Sending): Promise<void> {
  const { url, method, headers } = await signed(path, {
    method: 'PUT',
    headers: {
      'x-lightwell-name': encodeURIComponent(name),
      'x-lightwell-digest': digest,
      // The digest is signed, and the server compares it with what arrives.
      'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
      'content-type': 'application/octet-stream'
    },
    body: new Blob()
  })
  signal.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const request = new XMLHttpRequest()
    const abort = () => request.abort()
    // A line that is lost without a word is nothing that XMLHttpRequest would tell.
    let isStalled = false
    let watchdog: ReturnType<typeof setTimeout>
    const watch = (ms: number) => {
      clearTimeout(watchdog)
      watchdog = setTimeout(() => {
        isStalled = true
        request.abort()
      }, ms)
    }
    const end = () => {
      clearTimeout(watchdog)
      signal.removeEventListener('abort', abort)
    }
    request.open(method, url)
    headers.forEach((value, header) => {
      if (header !== 'host') request.setRequestHeader(header, value)
    })
    request.upload.onprogress = (event) => {
      watch(STALLED_MS)
      onSent(event.loaded)
    }
    request.upload.onload = () => watch(KEEPING_MS)
    request.onload = () => {
      end()
      if (request.status >= 200 && request.status < 300) resolve()
      else reject(new Refusal(request))
    }
    request.onerror = () => {
      end()
      reject(new OfflineError())
    }
    request.onabort = () => {
      end()
      reject(isStalled ? new OfflineError() : new DOMException('stopped', 'AbortError'))
    }
    signal.addEventListener('abort', abort)
    watch(STALLED_MS)
    request.send(content)
  }).catch(async (error: unknown) => {
    throw error instanceof Refusal ? await error.asError() : error
  })
}

class Refusal {
  constructor(private readonly request: XMLHttpRequest) {}

  asError(): Promise<ApiError> {
    const { request } = this
    const headers = new Headers()
    for (const name of ['x-amzn-errortype', 'x-amzn-requestid', 'retry-after']) {
      const value = request.getResponseHeader(name)
      if (value !== null) headers.set(name, value)
    }
    return errorOf(new Response(request.responseText, { status: request.status, statusText: request.statusText, headers }))
  }
}

/** Whether the same request may succeed later. */
export function mayPass(error: unknown): boolean {
  return error instanceof OfflineError || (error instanceof ApiError && (error.status === 429 || error.status >= 500 || error.status === 408))
}
