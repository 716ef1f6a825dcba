// The server's clock, as far as it is known: this machine's may be wrong.

export const clock = {
  /** Milliseconds that the server is ahead of this machine. */
  skew: 0
}

export function serverNow(): number {
  return Date.now() + clock.skew
}
