import { beforeEach, expect, test, vi } from 'vitest'
import { OfflineError } from '../api/errors'

vi.mock('../api/request', () => ({ signed: async () => ({ url: '/files', method: 'PUT', headers: new Headers() }) }))

/** A request that goes on for as long as nobody stops it. */
class Hanging {
  static last: Hanging
  upload: { onprogress?: (event: { loaded: number }) => void; onload?: () => void } = {}
  onabort?: () => void
  onload?: () => void
  status = 200
  constructor() {
    Hanging.last = this
  }
  open() {}
  setRequestHeader() {}
  send() {}
  abort() {
    this.onabort?.()
  }
}
vi.stubGlobal('XMLHttpRequest', Hanging)
const { mayPass, send } = await import('./send')

let outcome: unknown
beforeEach(() => {
  vi.useFakeTimers()
  outcome = undefined
})

async function begin(signal = new AbortController().signal): Promise<Hanging> {
  send({ path: '/files', name: 'a', digest: '', content: new Blob(), signal, onSent: () => undefined }).then(
    () => (outcome = 'sent'),
    (error: unknown) => (outcome = error)
  )
  await vi.advanceTimersByTimeAsync(0)
  return Hanging.last
}

test('gives a file up of which nothing is sent any more, so that it is tried again', async () => {
  const request = await begin()
  for (let seconds = 0; seconds < 300; seconds += 50) {
    await vi.advanceTimersByTimeAsync(50_000)
    request.upload.onprogress?.({ loaded: seconds })
  }
  expect(outcome).toBeUndefined()
  await vi.advanceTimersByTimeAsync(61_000)
  expect(outcome).toBeInstanceOf(OfflineError)
  expect(mayPass(outcome)).toBe(true)
})
test('waits long for the server to keep what has been sent', async () => {
  const request = await begin()
  request.upload.onload?.()
  await vi.advanceTimersByTimeAsync(600_000)
  expect(outcome).toBeUndefined()
  request.onload?.()
  await vi.advanceTimersByTimeAsync(1_000_000)
  expect(outcome).toBe('sent')
})
test('what is stopped on purpose is not tried again', async () => {
  const controller = new AbortController()
  await begin(controller.signal)
  controller.abort()
  await vi.advanceTimersByTimeAsync(0)
  expect(mayPass(outcome)).toBe(false)
})
