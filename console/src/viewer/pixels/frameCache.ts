// Decoded frames of all stacks, within a limit of memory.

import { bytesOf, type DecodedFrame } from './frame'

/** Who keeps frames here, of `set`; `distance` of a frame from the one shown, Infinity once the stack is closed. */
export interface FrameOwner {
  readonly set: object
  distance(index: number): number
}

interface Entry {
  readonly owner: FrameOwner
  readonly index: number
  readonly frame: DecodedFrame
}

export class FrameCache {
  #entries = new Map<FrameOwner, Map<number, Entry>>()
  #held = 0

  constructor(readonly limit: number) {}

  get held(): number {
    return this.#held
  }

  get(owner: FrameOwner, index: number): DecodedFrame | undefined {
    return this.#entries.get(owner)?.get(index)?.frame
  }

  /** Keeps a frame; forgets those of closed stacks, then the farthest ones, if there are too many. */
  put(owner: FrameOwner, index: number, frame: DecodedFrame): void {
    let own = this.#entries.get(owner)
    if (!own) this.#entries.set(owner, (own = new Map()))
    const before = own.get(index)
    if (before) this.#held -= bytesOf(before.frame)
    own.set(index, { owner, index, frame })
    this.#held += bytesOf(frame)
    if (this.#held > this.limit) this.#shrink()
  }

  /** Takes over what closed stacks of the same set have left: a reader comes back to a series. */
  adopt(owner: FrameOwner): void {
    const left = [...this.#entries].filter(([before]) => before !== owner && before.set === owner.set && before.distance(0) === Infinity)
    for (const [before, frames] of left) {
      this.#entries.delete(before)
      for (const { index, frame } of frames.values()) {
        this.#held -= bytesOf(frame)
        this.put(owner, index, frame)
      }
    }
  }

  #shrink(): void {
    const all = [...this.#entries.values()].flatMap((own) => [...own.values()])
    const far = all.map((entry) => ({ entry, distance: entry.owner.distance(entry.index) }))
    far.sort((a, b) => (b.distance === a.distance ? 0 : b.distance - a.distance))
    for (const { entry, distance } of far) {
      // What is shown now stays, however large.
      if (this.#held <= this.limit * 0.9 || distance === 0) return
      const own = this.#entries.get(entry.owner)
      own?.delete(entry.index)
      if (own?.size === 0) this.#entries.delete(entry.owner)
      this.#held -= bytesOf(entry.frame)
    }
  }
}

/** An eighth of what the device says to have, between 192 MB and 1 GB. */
export function cacheLimit(): number {
  const gigabytes = (navigator as { deviceMemory?: number }).deviceMemory ?? 4
  return Math.min(1024, Math.max(192, (gigabytes * 1024) / 8)) * 1024 * 1024
}
