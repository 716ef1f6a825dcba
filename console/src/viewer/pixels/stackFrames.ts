// The frames of one display set: what is there, what is on its way, what to fetch next.

import type { DisplaySet, FrameReference } from '../model/displaySets'
import { type ImageDescription, imageOf } from '../model/image'
import type { ImageSource } from '../source'
import { type Decoders, NotWanted } from './decoders'
import type { DecodedFrame } from './frame'
import type { EarlyFrames } from './earlyFrames'
import type { FrameCache, FrameOwner } from './frameCache'
import { HTJ2K, decodeStored, decodedByServer, isDecodedHere } from './oneFrame'
import { outwards } from './order'
import type { FramePart } from './packed'

const BATCH_FRAMES = 24
const BATCH_BYTES = 3 << 20
const LANES = 2
const PREVIEW_AT_LEAST = 3
const PREVIEWS_AT_ONCE = 40

export type FrameState =
  | { readonly kind: 'full'; readonly frame: DecodedFrame }
  | { readonly kind: 'preview'; readonly frame: DecodedFrame }
  | { readonly kind: 'error'; readonly message: string }
  | { readonly kind: 'loading' }

export class StackFrames implements FrameOwner {
  readonly #items: readonly FrameReference[]
  readonly #previews = new Map<number, DecodedFrame>()
  readonly #errors = new Map<number, string>()
  readonly #transient = new Set<number>()
  #failures = 0
  #resume: ReturnType<typeof setTimeout> | undefined
  readonly #coming = new Set<number>()
  readonly #byId = new Map<string, number>()
  readonly #abort = new AbortController()
  #current = 0
  #direction: 1 | -1 = 1
  #urgent: AbortController | undefined
  #urgentAt = -1
  #isOpen = false
  #isPrefetching = false
  #lanes = 0

  /**
   * `changed` is called with the position of a frame whose state is another now. `early` has small pictures that were
   * asked for before it was known what they are.
   */
  constructor(
    readonly set: DisplaySet,
    private readonly source: ImageSource,
    private readonly decoders: Decoders,
    private readonly cache: FrameCache,
    private readonly changed: (index: number) => void,
    private readonly early?: EarlyFrames
  ) {
    this.#items = set.frames
    this.#items.forEach(({ instance, frame }, index) => this.#byId.set(instance.frames[frame]!.ID, index))
    cache.adopt(this)
  }

  get length(): number {
    return this.#items.length
  }

  describe(index: number): ImageDescription {
    return imageOf(this.#items[index]!.instance)
  }

  state(index: number): FrameState {
    const full = this.cache.get(this, index)
    if (full) return { kind: 'full', frame: full }
    const message = this.#errors.get(index)
    if (message !== undefined) return { kind: 'error', message }
    const preview = this.#previews.get(index)
    return preview ? { kind: 'preview', frame: preview } : { kind: 'loading' }
  }

  /** How many frames are there in full, how many at all, of how many. */
  progress(): { full: number; shown: number; all: number } {
    let [full, shown] = [0, 0]
    for (let i = 0; i < this.length; i++) {
      if (this.cache.get(this, i)) full++
      if (this.cache.get(this, i) || this.#previews.has(i)) shown++
    }
    return { full, shown, all: this.length }
  }

  distance(index: number): number {
    return this.#abort.signal.aborted ? Infinity : Math.abs(index - this.#current)
  }

  /** Starts to load: the frame shown and all small pictures at once, then whole frames around it. */
  open(index: number): void {
    this.#isOpen = true
    this.focus(index)
    void this.#fetchPreviews().finally(() => {
      this.#isPrefetching = true
      this.#prefetch()
    })
  }

  /** Another frame is shown now. */
  focus(index: number): void {
    if (index !== this.#current) this.#direction = index > this.#current ? 1 : -1
    this.#current = index
    if (!this.#isOpen) return
    if (this.#transient.delete(index)) this.#errors.delete(index)
    if (!this.cache.get(this, index) && !this.#coming.has(index) && !this.#errors.has(index)) this.#fetchUrgently(index)
    this.#prefetch()
  }

  retry(index: number): void {
    this.#errors.delete(index)
    this.#transient.delete(index)
    this.changed(index)
    this.#fetchUrgently(index)
  }

  close(): void {
    this.#abort.abort()
    this.#urgent?.abort()
    clearTimeout(this.#resume)
    this.#previews.clear()
  }

  #isDecodedHere(index: number): boolean {
    return isDecodedHere(this.#items[index]!.instance)
  }

  /** Small pictures are averages of samples; an average of places in a palette is another colour. */
  #canPreview(index: number): boolean {
    return this.#isDecodedHere(index) && this.describe(index).photometric !== 'PALETTE COLOR'
  }

  /** At most one at a time: the reader has moved on from the one before. */
  #fetchUrgently(index: number): void {
    if (this.#urgentAt === index) return
    this.#urgent?.abort()
    const abort = new AbortController()
    this.#urgent = abort
    this.#urgentAt = index
    const signal = AbortSignal.any([abort.signal, this.#abort.signal])
    this.#coming.add(index)
    void this.#fetch([index], signal, index).finally(() => {
      this.#coming.delete(index)
      if (this.#urgent === abort) {
        this.#urgent = undefined
        this.#urgentAt = -1
      }
      // The reader may have come back to it while it was being cancelled, when it still looked as if it were on its way.
      if (abort.signal.aborted && !this.#abort.signal.aborted && this.#current === index) this.focus(index)
    })
  }

  #prefetch(): void {
    if (!this.#isPrefetching || this.#resume !== undefined) return
    while (this.#lanes < LANES && !this.#abort.signal.aborted) {
      const batch = this.#nextBatch()
      if (batch.length === 0) return
      this.#lanes++
      for (const index of batch) this.#coming.add(index)
      void this.#fetch(batch, this.#abort.signal).finally(() => {
        for (const index of batch) this.#coming.delete(index)
        this.#lanes--
        this.#prefetch()
      })
    }
  }

  /** The nearest frames that are missing, as far as they fit into the cache; of one kind. */
  #nextBatch(): number[] {
    const batch: number[] = []
    let bytes = 0
    let room = this.cache.limit * 0.8
    let isHtj2k: boolean | undefined
    for (const index of outwards(this.length, this.#current, this.#direction)) {
      const image = this.describe(index)
      room -= image.rows * image.columns * image.samples * Math.max(1, image.bitsAllocated / 8)
      if (room < 0) break
      if (this.cache.get(this, index) || this.#coming.has(index) || this.#errors.has(index)) continue
      const kind = this.#isDecodedHere(index)
      if (isHtj2k !== undefined && kind !== isHtj2k) break
      isHtj2k = kind
      batch.push(index)
      const { instance, frame } = this.#items[index]!
      bytes += instance.frames[frame]!.FrameSizeInBytes ?? 0
      if (!kind || batch.length >= BATCH_FRAMES || bytes >= BATCH_BYTES) break
    }
    return batch
  }

  async #fetch(batch: readonly number[], signal: AbortSignal, urgent?: number): Promise<void> {
    try {
      if (!this.#isDecodedHere(batch[0]!)) {
        for (const index of batch) await this.#fetchDecoded(index, signal)
        return
      }
      const ids = batch.map((index) => this.#items[index]!.instance.frames[this.#items[index]!.frame]!.ID)
      const decoding: Promise<void>[] = []
      const missing = new Set(batch)
      for await (const { record, body } of this.source.frames(this.set.series.origin, { ids }, signal)) {
        if (record.kind === 'frame') {
          const index = this.#byId.get(record.id)
          if (index === undefined) continue
          missing.delete(index)
          decoding.push(this.#decode(index, record, body, urgent === index, signal))
        } else if (record.kind === 'error') {
          const index = this.#byId.get(record.id)
          if (index === undefined) continue
          missing.delete(index)
          this.#failed(index, record.message)
        }
      }
      await Promise.all(decoding)
      for (const index of missing) this.#failed(index, 'The server did not send this frame.')
    } catch (error) {
      if (signal.aborted) return
      // A request that failed says nothing of the frames: those that nobody looks at are asked for again later.
      this.#pause()
      for (const index of batch) {
        if (this.cache.get(this, index)) continue
        if (index === urgent || index === this.#current) this.#failed(index, messageOf(error), true)
      }
    }
  }

  /** Leaves a server that does not answer alone for a while, each time longer. */
  #pause(): void {
    if (this.#resume !== undefined) return
    this.#failures++
    this.#resume = setTimeout(() => {
      this.#resume = undefined
      this.#prefetch()
    }, Math.min(30_000, 1000 * 2 ** this.#failures))
  }

  async #decode(
    index: number,
    part: FramePart,
    body: Uint8Array<ArrayBuffer>,
    isUrgent: boolean,
    signal: AbortSignal
  ): Promise<void> {
    const { instance, frame } = this.#items[index]!
    const { reduce } = part
    const isPreview = part.level !== 'full'
    try {
      if (part.syntax !== HTJ2K) throw new Error(`the server sent it in transfer syntax ${part.syntax}`)
      const urgency = (): number => (signal.aborted ? Infinity : isUrgent ? -1 : this.distance(index) + (isPreview ? 0 : 0.5))
      const decoded = await decodeStored(instance, frame, { bytes: body, reduce, urgency }, this.decoders)
      if (isPreview) this.#previews.set(index, decoded)
      else this.#loaded(index, decoded)
      this.changed(index)
    } catch (error) {
      // A small picture that fails is only missing: its frame follows.
      if (error instanceof NotWanted || signal.aborted || isPreview) return
      this.#failed(index, `The frame cannot be decoded: ${messageOf(error)}.`)
    }
  }

  async #fetchDecoded(index: number, signal: AbortSignal): Promise<void> {
    const { instance, frame } = this.#items[index]!
    try {
      this.#loaded(index, await decodedByServer(instance, frame, this.source, signal))
      this.changed(index)
    } catch (error) {
      if (!signal.aborted) this.#failed(index, messageOf(error), true)
    }
  }

  async #fetchPreviews(): Promise<void> {
    if (this.length < PREVIEW_AT_LEAST) return
    const order = outwards(this.length, this.#current).filter((index) => this.#canPreview(index) && !this.cache.get(this, index))
    if (order.length === 0) return
    const ids = order.map((index) => this.#items[index]!.instance.frames[this.#items[index]!.frame]!.ID)
    const decoding: Promise<void>[] = []
    const records = this.early?.take() ?? this.source.frames(this.set.series.origin, { ids, level: 0 }, this.#abort.signal)
    try {
      for await (const { record, body } of records) {
        if (this.#abort.signal.aborted) return
        if (record.kind !== 'frame' || record.omitted) continue
        const index = this.#byId.get(record.id)
        if (index !== undefined && this.#canPreview(index) && !this.cache.get(this, index)) {
          const begun = this.#decode(index, record, body, false, this.#abort.signal)
          decoding.push(begun)
          // The first one is the one that is shown: it is on the screen before the others are looked at. Records that
          // are there already come without a pause, in which nothing would be painted.
          if (decoding.length === 1) await begun
          if (decoding.length % PREVIEWS_AT_ONCE === 1) await new Promise((resolve) => setTimeout(resolve))
        }
      }
      await Promise.all(decoding)
    } catch {
      // Whole frames follow without them; if those fail, too, they say why.
    }
  }

  #loaded(index: number, frame: DecodedFrame): void {
    if (this.#abort.signal.aborted) return
    this.cache.put(this, index, frame)
    this.#errors.delete(index)
    this.#transient.delete(index)
    this.#failures = 0
  }

  /** `isTransient`: another attempt may succeed, so coming back to the frame is one. */
  #failed(index: number, message: string, isTransient = false): void {
    this.#errors.set(index, message)
    if (isTransient) this.#transient.add(index)
    this.changed(index)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error && error.message ? error.message.replace(/\.$/, '') : 'the request failed'
}
