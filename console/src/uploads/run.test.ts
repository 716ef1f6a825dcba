import { beforeEach, expect, test, vi } from 'vitest'
import { ApiError, OfflineError } from '../api/errors'
import type { Upload } from '../api/imports'
import { digestOf } from './digest'

// Declared before the modules that use it, as vi.mock is moved to the top.
const server = vi.hoisted(() => ({
  uploads: [] as unknown[],
  files: new Map<string, Map<string, { digest: string }>>(),
  sent: [] as string[],
  jobs: [] as string[],
  failures: [] as unknown[],
  /** By name: files are sent side by side, in whatever order their digests are known. */
  refused: new Map<string, unknown>(),
  /** What other requests than that of a file do instead. */
  start: undefined as (() => Promise<{ jobId: string }>) | undefined,
  job: undefined as (() => Promise<unknown>) | undefined,
  discard: undefined as (() => Promise<void>) | undefined,
  cancelled: [] as string[]
}))

vi.stubGlobal('document', { hidden: false })
vi.mock('../session/session', () => ({ session: { value: null } }))
vi.mock('../api/imports', () => ({
  listUploads: async () => server.uploads,
  beginUpload: async (_: string, body: { name: string; files: number; bytes: number }) => {
    const upload = { ...body, uploadId: `upload${server.uploads.length + 1}`, jobId: null }
    server.uploads.push(upload)
    server.files.set(upload.uploadId, new Map())
    return upload
  },
  arrivedFiles: async (_: string, id: string) => new Map(server.files.get(id)),
  filesPath: (_: string, id: string) => id,
  startDICOMImportJob: async (_: string, body: { clientToken: string }) => {
    server.jobs.push(body.clientToken)
    return server.start?.() ?? { jobId: 'job' }
  },
  getUpload: async () => ({ jobId: server.jobs.length > 0 ? 'job' : null }),
  getJob: async () => server.job?.() ?? { phase: 'done', jobStatus: 'COMPLETED' },
  cancelJob: async (_: string, id: string) => {
    server.cancelled.push(id)
    return { phase: 'read', jobStatus: 'IN_PROGRESS' }
  },
  discardUpload: async () => server.discard?.()
}))
vi.mock('./send', async (original) => ({
  ...(await original<object>()),
  send: async ({ path, name, digest }: { path: string; name: string; digest: string }) => {
    const failure = server.refused.get(name) ?? server.failures.shift()
    if (failure !== undefined) throw failure
    const before = server.files.get(path)!.get(name)
    if (before !== undefined && before.digest !== digest) throw new ApiError(409, 'ConflictException', 'another')
    server.files.get(path)!.set(name, { digest })
    server.sent.push(`${path} ${name}`)
  }
}))

const { ImportRun } = await import('./run')

// Milliseconds to wait for what does come, on a machine that does much else.
const PATIENT = 30_000

beforeEach(() => {
  Object.assign(server, { uploads: [], files: new Map(), sent: [], jobs: [], failures: [], refused: new Map(), start: undefined, job: undefined, discard: undefined, cancelled: [] })
})

function items(...texts: string[]) {
  return texts.map((text, index) => ({ path: `CD/${index}.dcm`, file: new File([text], `${index}.dcm`) }))
}

async function earlier(...texts: string[]): Promise<void> {
  const files = new Map<string, { digest: string }>()
  for (const [index, text] of texts.entries()) files.set(`CD/${index}.dcm`, { digest: await digestOf(new Blob([text])) })
  server.uploads.push({ uploadId: 'earlier', jobId: null, name: 'CD', files: 3, bytes: 3 } as Partial<Upload>)
  server.files.set('earlier', files)
}

test('sends all files, and then starts one job', async () => {
  const run = new ImportRun('store')
  await run.begin(items('a', 'b', 'c'))
  expect(server.sent.sort()).toEqual(['upload1 CD/0.dcm', 'upload1 CD/1.dcm', 'upload1 CD/2.dcm'])
  expect(server.jobs).toEqual(['upload1'])
  expect([run.phase.value, run.sentFiles.value, run.sentBytes.value, run.isBusy]).toEqual(['done', 3, 3, false])
})

test('sends only what is missing of the same files', async () => {
  await earlier('a', 'b')
  const run = new ImportRun('store')
  await run.begin(items('a', 'b', 'c'))
  expect(server.sent).toEqual(['earlier CD/2.dcm'])
  expect([server.jobs, run.before.value, run.sentFiles.value]).toEqual([['earlier'], 2, 3])
})

test('takes files that only look alike for others', async () => {
  await earlier('a', 'b')
  const run = new ImportRun('store')
  await run.begin(items('a', 'x', 'c'))
  await vi.waitFor(() => expect(run.phase.value).toBe('done'), PATIENT)
  expect(server.jobs).toEqual(['upload2'])
  expect(server.sent.filter((each) => each.startsWith('upload2'))).toHaveLength(3)
})

test('takes an upload with files of other names for another one', async () => {
  await earlier('a')
  server.files.get('earlier')!.set('CD/other.dcm', { digest: 'x' })
  const run = new ImportRun('store')
  await run.begin(items('a', 'b', 'c'))
  expect([server.jobs, run.before.value, server.files.get('upload2')!.size]).toEqual([['upload2'], 0, 3])
})

test('starts no job without a file that was being read when it was paused', async () => {
  const [first, slow] = items('a', 'b')
  let read: () => void = () => undefined
  const bytes = await slow!.file.arrayBuffer()
  Object.defineProperty(slow!.file, 'arrayBuffer', { value: () => new Promise((resolve) => (read = () => resolve(bytes))) })
  const run = new ImportRun('store')
  const begun = run.begin([first!, slow!])
  await vi.waitFor(() => expect(server.sent).toHaveLength(1), PATIENT)
  run.pause()
  const resumed = run.resume()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(server.jobs).toEqual([])
  read()
  await begun
  await vi.waitFor(() => {
    read()
    expect(run.phase.value).toBe('done')
  }, PATIENT)
  await resumed
  expect([server.sent.sort(), server.jobs]).toEqual([['upload1 CD/0.dcm', 'upload1 CD/1.dcm'], ['upload1']])
})

test('tries again while the server is away', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  server.failures = [new OfflineError(), new ApiError(503, 'ServiceUnavailableException', 'full'), new OfflineError()]
  const run = new ImportRun('store')
  let isOver = false
  void run.begin(items('a')).then(() => (isOver = true))
  while (!isOver) {
    await vi.advanceTimersByTimeAsync(1000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  vi.useRealTimers()
  expect([run.phase.value, server.sent, run.waiting.value]).toEqual(['done', ['upload1 CD/0.dcm'], null])
})

test('does not start the job while a file cannot be read', async () => {
  const run = new ImportRun('store')
  const [good, bad] = items('a', 'b')
  Object.defineProperty(bad!.file, 'arrayBuffer', { configurable: true, value: () => Promise.reject(new DOMException('gone', 'NotFoundError')) })
  await run.begin([good!, bad!])
  expect([run.phase.value, server.jobs, run.isBusy]).toEqual(['incomplete', [], true])
  expect(run.unreadable.value).toEqual([{ path: 'CD/1.dcm', reason: 'it is not there any more' }])
  Reflect.deleteProperty(bad!.file, 'arrayBuffer')
  await run.resume()
  expect([run.phase.value, run.unreadable.value, server.jobs]).toEqual(['done', [], ['upload1']])
})

test('stops when it is refused, and can go on', async () => {
  server.failures = [new ApiError(403, 'AccessDeniedException', 'no')]
  const run = new ImportRun('store')
  await run.begin(items('a', 'b'))
  expect(run.phase.value).toBe('failed')
  await run.resume()
  expect([run.phase.value, server.files.get('upload1')!.size]).toEqual(['done', 2])
})

test('has nothing to send of what systems leave', async () => {
  const run = new ImportRun('store')
  await run.begin([{ path: 'CD/.DS_Store', file: new File(['x'], '.DS_Store') }])
  expect([run.phase.value, run.leftOut.value.length, server.uploads]).toEqual(['empty', 1, []])
})

test('cancels a job that is being started when it is cancelled', async () => {
  let answer: (job: { jobId: string }) => void = () => undefined
  server.start = () => new Promise((resolve) => (answer = resolve))
  const run = new ImportRun('store')
  const begun = run.begin(items('a'))
  await vi.waitFor(() => expect(server.jobs).toHaveLength(1), PATIENT)
  const cancelled = run.cancel()
  answer({ jobId: 'job' })
  await cancelled
  await begun
  expect([server.cancelled, run.jobId.value]).toEqual([['job'], 'job'])
})

test('cancels the job of which it has not heard that it was started', async () => {
  server.start = () => Promise.reject(new OfflineError())
  server.discard = () => Promise.reject(new ApiError(409, 'ConflictException', 'Import job job reads this upload.'))
  const run = new ImportRun('store')
  await run.begin(items('a'))
  expect([run.phase.value, run.jobId.value]).toEqual(['failed', null])
  await run.cancel()
  await vi.waitFor(() => expect(run.phase.value).toBe('done'), PATIENT)
  expect([server.cancelled, run.jobId.value]).toEqual([['job'], 'job'])
})

test('does not hide that an upload could not be discarded, and can go on', async () => {
  server.discard = () => Promise.reject(new OfflineError())
  const run = new ImportRun('store')
  const [file] = items('a')
  let read: () => void = () => undefined
  Object.defineProperty(file!.file, 'arrayBuffer', { configurable: true, value: () => new Promise((_, reject) => (read = () => reject(new DOMException('', 'AbortError')))) })
  const begun = run.begin([file!])
  await vi.waitFor(() => expect(run.phase.value).toBe('sending'), PATIENT)
  await expect(run.cancel()).rejects.toThrow(OfflineError)
  read()
  await begun
  expect(run.phase.value).toBe('paused')
  Reflect.deleteProperty(file!.file, 'arrayBuffer')
  await run.resume()
  expect([run.phase.value, server.jobs]).toEqual(['done', ['upload1']])
})

test('does not call a job stopped that it is not allowed to look at', async () => {
  server.job = () => Promise.reject(new ApiError(403, 'AccessDeniedException', 'no'))
  const run = new ImportRun('store')
  await run.begin(items('a'))
  expect([run.phase.value, run.jobId.value, run.isBusy]).toEqual(['unwatched', 'job', false])
  server.job = undefined
  await run.resume()
  expect([run.phase.value, run.error.value, server.jobs]).toEqual(['done', undefined, ['upload1']])
})

test('names a file that is refused, and sends the others', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const refused = new ApiError(409, 'ConflictException', 'Another file of this name has arrived.')
  server.refused = new Map<string, unknown>([['CD/0.dcm', refused], ['CD/1.dcm', new URIError('malformed')]])
  const run = new ImportRun('store')
  await run.begin(items('a', 'b', 'c'))
  vi.useRealTimers()
  expect([run.phase.value, server.sent, server.jobs]).toEqual(['incomplete', ['upload1 CD/2.dcm'], []])
  expect(run.unreadable.value.toSorted((one, other) => one.path.localeCompare(other.path))).toEqual([{ path: 'CD/0.dcm', reason: refused.message }, { path: 'CD/1.dcm', reason: 'its name is not valid Unicode: rename it' }])
})
