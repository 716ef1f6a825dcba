// How long something will still take, from how fast it went lately; nothing where that is not known.

const WINDOW_MS = 60_000
/** A rate of less time says little. */
const LEAST_MS = 4_000

export class RecentRate {
  private seen: { at: number; done: number }[] = []

  add(done: number, at = performance.now()): void {
    const last = this.seen[this.seen.length - 1]
    if (last !== undefined && done < last.done) this.seen = []
    this.seen.push({ at, done })
    while (this.seen.length > 2 && this.seen[1]!.at <= at - WINDOW_MS) this.seen.shift()
  }

  /** Per second; null while it is not known. */
  get perSecond(): number | null {
    const [first, last] = [this.seen[0], this.seen[this.seen.length - 1]]
    if (first === undefined || last === undefined || last.at - first.at < LEAST_MS || last.done <= first.done) return null
    return ((last.done - first.done) * 1000) / (last.at - first.at)
  }

  /** `left` at the rate of late; null while that is not known. */
  secondsFor(left: number): number | null {
    const rate = this.perSecond
    return rate === null || left <= 0 ? null : left / rate
  }

  /** Until as much as `total` is done. */
  secondsLeft(total: number): number | null {
    return this.secondsFor(total - (this.seen[this.seen.length - 1]?.done ?? 0))
  }
}

/** `about 3 min left`, as coarse as an estimate is; "" for null. */
export function timeLeft(seconds: number | null): string {
  if (seconds === null) return ''
  if (seconds < 55) return `about ${Math.max(10, Math.round(seconds / 10) * 10)} s left`
  const minutes = Math.round(seconds / 60)
  if (minutes < 90) return `about ${Math.max(1, minutes)} min left`
  const hours = Math.round(seconds / 3600)
  return hours < 48 ? `about ${hours} h left` : `about ${Math.round(seconds / 86_400)} days left`
}
