// One import from this browser: collect what was dropped, send what is missing of it, start the job, and follow it.
// It goes on while pages change; `runs.ts` holds those of this tab.

import { batch, signal } from '@preact/signals'
import { type Job, type Upload, arrivedFiles, beginUpload, cancelJob, discardUpload, filesPath, getJob, getUpload, listUploads, startDICOMImportJob } from '../api/imports'
import { ApiError, explain, isAbort } from '../api/errors'
import { type Collected, Collector, type Item, type LeftOut, type Source } from './collect'
import { digestOf } from './digest'
import { RecentRate } from './rate'
import { mayPass, send } from './send'

/** `unwatched`: the job goes on, or has ended, but this page was refused to look at it. */
export type RunPhase = 'collecting' | 'sending' | 'paused' | 'incomplete' | 'importing' | 'unwatched' | 'done' | 'failed' | 'empty'

const AT_ONCE = 4
/** Up to this size, what is hashed is what is sent, even if the file changes meanwhile. */
const IN_MEMORY = 32 << 20
const FIRST_WAIT_MS = 1000
const LONGEST_WAIT_MS = 30_000
const POLL_MS = 1000
const LONGEST_START_MS = 10_000
const SHOW_MS = 200
const TRIES_OF_CHANGED = 3

let lastId = 0

export class ImportRun {
  readonly id = ++lastId
  readonly phase = signal<RunPhase>('collecting')
  readonly label = signal('')
  /** Files looked at while they are collected. */
  readonly seen = signal(0)
  readonly files = signal(0)
  readonly bytes = signal(0)
  readonly sentFiles = signal(0)
  readonly sentBytes = signal(0)
  /** Files that had arrived before. */
  readonly before = signal(0)
  readonly leftOut = signal<LeftOut[]>([])
  readonly unreadable = signal<LeftOut[]>([])
  /** Why nothing is being sent at the moment, and it will be tried again. */
  readonly waiting = signal<string | null>(null)
  readonly error = signal<unknown>(undefined)
  readonly uploadId = signal<string | null>(null)
  readonly jobId = signal<string | null>(null)
  readonly job = signal<Job | null>(null)
  rate = new RecentRate()

  private upload: Upload | null = null
  private collected: Collected | null = null
  private left: Source[] = []
  private arrived = new Map<string, { digest: string }>()
  private stopping = new AbortController()
  /** Resolves when nothing that was begun is being sent any more. */
  private sending: Promise<unknown> = Promise.resolve()
  /** Resolves when no request to start the job is under way any more. */
  private starting: Promise<unknown> = Promise.resolve()
  private inFlight = new Map<Source, number>()
  private doneBytes = 0
  private doneFiles = 0
  /** Without what had arrived before. */
  private movedBytes = 0
  private shownAt = 0
  private isResumed = false

  constructor(readonly store: string) {}

  /** Whether leaving the page would interrupt it. */
  get isBusy(): boolean {
    return ['collecting', 'sending', 'paused', 'incomplete'].includes(this.phase.value) || (this.phase.value === 'failed' && this.jobId.value === null)
  }

  async begin(items: Item[]): Promise<void> {
    try {
      const collector = new Collector((files) => (this.seen.value = files), this.stopping.signal)
      const collected = await collector.collect(items)
      this.collected = collected
      batch(() => {
        this.label.value = collected.label
        this.leftOut.value = collected.leftOut
        this.unreadable.value = collected.unreadable
        this.files.value = collected.sources.length
        this.bytes.value = collected.bytes
      })
      if (collected.sources.length === 0) {
        this.phase.value = 'empty'
        return
      }
      await this.open(true)
      await this.sendAll()
    } catch (error) {
      this.fail(error)
    }
  }

  /** The upload on the server: the one that was begun with the same files, or a new one. */
  private async open(mayResume: boolean): Promise<void> {
    const { label, sources, bytes } = this.collected!
    const same = (each: Upload) => each.jobId === null && each.name === label && each.files === sources.length && each.bytes === bytes
    let known = mayResume ? (await listUploads(this.store, this.stopping.signal)).find(same) : undefined
    this.arrived = known === undefined ? new Map() : await arrivedFiles(this.store, known.uploadId, this.stopping.signal)
    // A file that is not among these would be imported with them.
    const names = new Set(sources.map((each) => each.path))
    if (![...this.arrived.keys()].every((name) => names.has(name))) {
      known = undefined
      this.arrived = new Map()
    }
    this.isResumed = known !== undefined
    this.upload = known ?? (await beginUpload(this.store, { name: label, files: sources.length, bytes }, this.stopping.signal))
    this.left = [...sources]
    this.doneBytes = this.doneFiles = 0
    this.inFlight.clear()
    batch(() => {
      this.uploadId.value = this.upload!.uploadId
      this.before.value = this.arrived.size
      this.show(true)
    })
  }

  private async sendAll(): Promise<void> {
    this.phase.value = 'sending'
    const own = this.stopping.signal
    const workers = new AbortController()
    const stop = () => workers.abort()
    own.addEventListener('abort', stop)
    try {
      const sending = Promise.allSettled(Array.from({ length: AT_ONCE }, () => this.work(workers).catch((error: unknown) => {
        // The others end, too.
        workers.abort()
        throw error
      })))
      this.sending = sending
      const failures = await sending
      const reasons = failures.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []))
      const reason = reasons.find((each) => !isAbort(each)) ?? reasons[0]
      if (reason !== undefined) throw reason
    } finally {
      own.removeEventListener('abort', stop)
      this.show(true)
    }
    // Paused when all had just arrived: whoever resumes starts the job.
    own.throwIfAborted()
    if (this.unreadable.value.length > 0) this.phase.value = 'incomplete'
    else if (this.doneFiles < this.collected!.sources.length) throw new Error('Not all files were sent, so nothing was imported. Drop them again.')
    else await this.startJob()
  }

  private async work(workers: AbortController): Promise<void> {
    for (let source = this.left.shift(); source !== undefined; source = this.left.shift()) {
      try {
        if (await this.sendOne(source, workers.signal)) this.movedBytes += source.size
        this.doneBytes += source.size
        this.doneFiles++
      } catch (error) {
        if (isAbort(error) || !(await this.isOfFile(error))) {
          this.left.unshift(source)
          throw error
        }
        this.unreadable.value = [...this.unreadable.value, { path: source.path, reason: explain(error) }]
      } finally {
        this.inFlight.delete(source)
        this.show()
      }
    }
  }

  /** Whether a failure is that of one file, which keeps the others from nothing. */
  private async isOfFile(error: unknown): Promise<boolean> {
    if (error instanceof UnreadableError) return true
    if (!(error instanceof ApiError)) return false
    if (error.status !== 409) return error.status === 400 || error.status === 413
    // Another file of its name, unless the import has begun without this one.
    const now = await getUpload(this.store, this.upload!.uploadId, this.stopping.signal).catch(() => null)
    return now !== null && now.jobId === null
  }

  /** Whether it had to be sent. */
  private async sendOne(source: Source, stop: AbortSignal): Promise<boolean> {
    let content: Blob | ArrayBuffer
    let digest: string
    try {
      const blob = await source.open()
      content = blob.size <= IN_MEMORY ? await blob.arrayBuffer() : blob
      digest = await digestOf(content, stop)
    } catch (error) {
      if (isAbort(error)) throw error
      throw new UnreadableError(error)
    }
    const there = this.arrived.get(source.path)
    if (there !== undefined) {
      if (there.digest === digest) return false
      throw new AnotherUploadError()
    }
    let changed = 0
    for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
      stop.throwIfAborted()
      try {
        await send({
          path: filesPath(this.store, this.upload!.uploadId),
          name: source.path,
          digest,
          content,
          signal: stop,
          onSent: (bytes) => {
            this.inFlight.set(source, Math.min(bytes, source.size))
            this.show()
          }
        })
        this.waiting.value = null
        return true
      } catch (error) {
        this.inFlight.delete(source)
        if (error instanceof URIError) throw new UnreadableError(new Error('its name is not valid Unicode: rename it'))
        if (error instanceof ApiError && error.status === 409 && this.isResumed) throw new AnotherUploadError()
        const isChanged = error instanceof ApiError && error.status === 400 && ++changed < TRIES_OF_CHANGED
        if (isAbort(error) || !(mayPass(error) || isChanged)) throw error
        this.waiting.value = `${explain(error)} Trying again in ${Math.round(wait / 1000)} s.`
        this.show(true)
        await pause(wait * (0.75 + Math.random() / 2), stop)
      }
    }
  }

  /** Import what has arrived, although some of it could not be sent. */
  async startJob(): Promise<void> {
    try {
      const upload = this.upload!
      const started = startDICOMImportJob(this.store, {
        inputS3Uri: upload.inputS3Uri,
        outputS3Uri: upload.outputS3Uri,
        dataAccessRoleArn: upload.dataAccessRoleArn,
        clientToken: upload.uploadId,
        jobName: `upload-of-${this.doneFiles}-files`
      })
      this.starting = started.catch(() => undefined)
      const { jobId } = await started
      batch(() => {
        this.jobId.value = jobId
        this.phase.value = 'importing'
      })
      await this.follow(jobId)
    } catch (error) {
      this.fail(error)
    }
  }

  private async follow(jobId: string): Promise<void> {
    for (;;) {
      try {
        const job = await getJob(this.store, jobId, this.stopping.signal)
        this.job.value = job
        if (job.phase === 'done') {
          this.phase.value = job.jobStatus === 'COMPLETED' ? 'done' : 'failed'
          return
        }
      } catch (error) {
        if (!mayPass(error)) throw error
      }
      await pause(document.hidden ? POLL_MS * 5 : POLL_MS, this.stopping.signal)
    }
  }

  pause(): void {
    if (this.phase.value !== 'sending') return
    this.phase.value = 'paused'
    this.stopping.abort()
  }

  async resume(): Promise<void> {
    if (this.phase.value === 'unwatched') return this.watch()
    if (!['paused', 'failed', 'incomplete'].includes(this.phase.value) || this.collected === null || this.jobId.value !== null) return
    const own = (this.stopping = new AbortController())
    this.rate = new RecentRate()
    batch(() => {
      this.error.value = undefined
      this.waiting.value = null
      this.phase.value = 'sending'
    })
    try {
      // What was under way puts back what it could not send, which must not be missed.
      await this.sending
      own.signal.throwIfAborted()
      if (this.upload === null) await this.open(true)
      this.retryUnreadable()
      await this.sendAll()
    } catch (error) {
      this.fail(error)
    }
  }

  private retryUnreadable(): void {
    const failed = new Set(this.unreadable.value.map((each) => each.path))
    const again = this.collected!.sources.filter((each) => failed.has(each.path))
    const paths = new Set(again.map((each) => each.path))
    this.unreadable.value = this.unreadable.value.filter((each) => !paths.has(each.path))
    this.left.push(...again)
  }

  /** Stop it for good: forget the upload, or cancel the job, then `jobId` is there. What is imported stays. */
  async cancel(): Promise<void> {
    // A job that is being started right now can only be cancelled once its id is known.
    await Promise.race([this.starting, new Promise((resolve) => setTimeout(resolve, LONGEST_START_MS))])
    if (this.jobId.value === null) {
      const before = this.phase.value
      this.stopping.abort()
      if (this.upload === null) return
      try {
        await discardUpload(this.store, this.upload.uploadId)
        return
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return
        // What was being sent is not sent any more, and can go on.
        if (before === 'sending') this.phase.value = 'paused'
        if (!(error instanceof ApiError) || error.status !== 409) throw error
        const { jobId } = await getUpload(this.store, this.upload.uploadId)
        if (jobId === null) throw error
        batch(() => {
          this.jobId.value = jobId
          this.phase.value = 'importing'
        })
      }
    }
    this.job.value = await cancelJob(this.store, this.jobId.value!)
    if (this.stopping.signal.aborted || this.phase.value === 'unwatched') void this.watch()
  }

  /** Follow the job, anew if it was not followed any more. */
  private async watch(): Promise<void> {
    this.stopping = new AbortController()
    batch(() => {
      this.error.value = undefined
      this.phase.value = 'importing'
    })
    try {
      await this.follow(this.jobId.value!)
    } catch (error) {
      this.fail(error)
    }
  }

  /** Nothing of it goes on in this page. */
  leave(): void {
    this.stopping.abort()
  }

  private fail(error: unknown): void {
    if (isAbort(error)) return
    if (error instanceof AnotherUploadError) {
      void this.beginAnew()
      return
    }
    batch(() => {
      this.error.value = error
      this.waiting.value = null
      // What has become of the job is not known then, least of all that it has stopped.
      this.phase.value = this.jobId.value === null ? 'failed' : 'unwatched'
    })
  }

  /** What has arrived of the earlier upload are other files, although they look alike. */
  private async beginAnew(): Promise<void> {
    const own = this.stopping
    try {
      await this.open(false)
      own.signal.throwIfAborted()
      await this.sendAll()
    } catch (error) {
      this.fail(error)
    }
  }

  private show(now = false): void {
    const at = performance.now()
    if (!now && at - this.shownAt < SHOW_MS) return
    this.shownAt = at
    let inFlight = 0
    for (const bytes of this.inFlight.values()) inFlight += bytes
    const sent = this.doneBytes + inFlight
    this.rate.add(this.movedBytes + inFlight, at)
    batch(() => {
      this.sentFiles.value = this.doneFiles
      this.sentBytes.value = sent
    })
  }
}

/** A file that cannot be read on this machine. */
class UnreadableError extends Error {
  constructor(cause: unknown) {
    const isGone = cause instanceof DOMException && cause.name === 'NotFoundError'
    super(isGone ? 'it is not there any more' : cause instanceof Error && cause.message ? cause.message : 'it cannot be read')
  }
}

/** A file of that name has arrived before and is another one. */
class AnotherUploadError extends Error {}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      stop.removeEventListener('abort', abort)
      resolve()
    }, ms)
    const abort = () => {
      clearTimeout(timer)
      reject(new DOMException('stopped', 'AbortError'))
    }
    stop.addEventListener('abort', abort, { once: true })
  })
}
