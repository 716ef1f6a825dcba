// Small pictures of an image set that are fetched while its metadata are still on their way.

import type { Packed } from './packed'

/** Reads at once, whoever waits for it; hands out everything from the beginning, and then as it arrives. */
export class EarlyFrames {
  readonly #records: Packed[] = []
  readonly #waiting: (() => void)[] = []
  #isDone = false
  #error: unknown

  constructor(records: AsyncIterable<Packed>) {
    void this.#read(records)
  }

  async #read(records: AsyncIterable<Packed>): Promise<void> {
    try {
      for await (const record of records) {
        this.#records.push(record)
        this.#wake()
      }
    } catch (error) {
      this.#error = error
    }
    this.#isDone = true
    this.#wake()
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** To be read once: the bodies go to the decoders. */
  async *take(): AsyncIterable<Packed> {
    for (;;) {
      const next = this.#records.shift()
      if (next) yield next
      else if (this.#isDone) break
      else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    if (this.#error !== undefined) throw this.#error
  }
}
