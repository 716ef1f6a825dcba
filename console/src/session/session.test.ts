import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { clock } from './clock'
import { begin, end, endedBecause, listenToTabs, onOtherPerson, session } from './session'

const sent: unknown[] = []
let hear: (data: unknown) => void = () => undefined
vi.stubGlobal(
  'BroadcastChannel',
  class {
    set onmessage(listener: (event: { data: unknown }) => void) {
      hear = (data) => listener({ data })
    }
    postMessage(data: unknown) {
      sent.push(data)
    }
  }
)
listenToTabs()

const ALICE = 'arn:aws:iam::1:user/alice'
const BOB = 'arn:aws:iam::1:user/bob'
const signIn = (accessKeyId: string, arn: string, options = { keep: true }, seconds = 60) =>
  begin({ accessKeyId, secretAccessKey: 'secret', expiration: new Date(Date.now() + seconds * 1000).toISOString() }, arn, options)

beforeEach(async () => {
  await end()
  sent.length = 0
  clock.skew = 0
})
afterEach(() => vi.useRealTimers())

test('other tabs are told of a session that ends', async () => {
  await signIn('ASIA1', ALICE)
  await end('over')
  expect(sent).toEqual([{ is: 'begun', arn: ALICE }, { is: 'ended', accessKeyId: 'ASIA1', reason: 'over' }])
})
test('a session ends with that of another tab, and no other one does', async () => {
  await signIn('ASIA1', ALICE)
  hear({ is: 'ended', accessKeyId: 'ASIA2', reason: null })
  expect(session.value?.accessKeyId).toBe('ASIA1')
  sent.length = 0
  hear({ is: 'ended', accessKeyId: 'ASIA1', reason: 'over' })
  expect([session.value, endedBecause.value, sent]).toEqual([null, 'over', []])
})
test('another person in another tab takes the place of what is kept', async () => {
  await signIn('ASIA1', ALICE)
  hear({ is: 'begun', arn: ALICE })
  expect(session.value).not.toBeNull()
  hear({ is: 'begun', arn: BOB })
  expect(session.value).toBeNull()
  await signIn('ASIA1', ALICE, { keep: false })
  hear({ is: 'begun', arn: BOB })
  expect(session.value).not.toBeNull()
})
test('what a person left is theirs again, and not the next one\'s', async () => {
  const clear = vi.fn()
  onOtherPerson(clear)
  await signIn('ASIA1', ALICE)
  await end()
  await signIn('ASIA2', ALICE)
  expect(clear).not.toHaveBeenCalled()
  await end()
  await signIn('ASIA3', BOB)
  expect(clear).toHaveBeenCalledOnce()
})
test('a session expires by the clock of the server', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  await signIn('ASIA1', ALICE, { keep: false }, 60)
  // Found out while it runs: this machine is 30 s ahead.
  clock.skew = -30_000
  await vi.advanceTimersByTimeAsync(61_000)
  expect(session.value).not.toBeNull()
  await vi.advanceTimersByTimeAsync(30_000)
  expect([session.value, endedBecause.value]).toEqual([null, 'Your session has expired. Sign in again.'])
})
