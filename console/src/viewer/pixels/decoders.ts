// A few workers that decode, and the frames that wait for them.

import type { DecodeJob, DecodeResult, ExpectedForm } from './decodeMessages'

export interface Decoding {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly expected: ExpectedForm
  readonly reduce: number
  readonly checksum: number | undefined
  /** The least goes first; asked again each time a worker is free, since readers scroll. Infinity: not wanted any more. */
  readonly urgency: () => number
}

export interface DecodedBytes {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array<ArrayBuffer>
}

export class NotWanted extends Error {}

interface Waiting extends Decoding {
  readonly resolve: (decoded: DecodedBytes) => void
  readonly reject: (error: Error) => void
}

interface Slot {
  readonly worker: Worker
  busy: Waiting | undefined
}

export class Decoders {
  readonly #slots: Slot[] = []
  #waiting: Waiting[] = []
  #next = 1

  constructor(
    private readonly makeWorker: () => Worker,
    count: number
  ) {
    for (let i = 0; i < count; i++) this.#slots.push(this.#slot())
  }

  decode(decoding: Decoding): Promise<DecodedBytes> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...decoding, resolve, reject })
      this.#start()
    })
  }

  close(): void {
    for (const slot of this.#slots) slot.worker.terminate()
    this.#slots.length = 0
    for (const one of this.#waiting.splice(0)) one.reject(new NotWanted('The viewer was closed.'))
  }

  #slot(): Slot {
    const slot: Slot = { worker: this.makeWorker(), busy: undefined }
    slot.worker.onmessage = ({ data }: MessageEvent<DecodeResult>) => {
      const { busy } = slot
      slot.busy = undefined
      if (busy) {
        if ('error' in data) busy.reject(new Error(data.error))
        else busy.resolve(data)
      }
      this.#start()
    }
    slot.worker.onerror = (event) => {
      event.preventDefault()
      slot.busy?.reject(new Error('the decoder stopped'))
      slot.busy = undefined
      slot.worker.terminate()
      const at = this.#slots.indexOf(slot)
      if (at >= 0) this.#slots[at] = this.#slot()
      // Not at once: a worker whose script cannot be loaded would be started again and again.
      setTimeout(() => this.#start(), 200)
    }
    return slot
  }

  #start(): void {
    for (const slot of this.#slots) {
      if (slot.busy) continue
      const job = this.#mostUrgent()
      if (!job) return
      slot.busy = job
      const { bytes, expected, reduce, checksum } = job
      const message: DecodeJob = { id: this.#next++, bytes, expected, reduce, checksum }
      slot.worker.postMessage(message, [bytes.buffer])
    }
  }

  #mostUrgent(): Waiting | undefined {
    let best: Waiting | undefined
    let least = Infinity
    const kept: Waiting[] = []
    for (const one of this.#waiting) {
      const urgency = one.urgency()
      if (urgency === Infinity) {
        one.reject(new NotWanted('The frame is not wanted any more.'))
        continue
      }
      kept.push(one)
      if (urgency < least) [best, least] = [one, urgency]
    }
    this.#waiting = best ? kept.filter((one) => one !== best) : kept
    return best
  }
}

/** As many as there are cores beside the page's own, at most four. */
export function startDecoders(): Decoders {
  const cores = navigator.hardwareConcurrency || 2
  return new Decoders(
    () => new Worker(new URL('./codec.worker.ts', import.meta.url), { type: 'module', name: 'lightwell codec' }),
    Math.min(4, Math.max(1, cores - 1 || 1, cores === 2 ? 2 : 1))
  )
}
