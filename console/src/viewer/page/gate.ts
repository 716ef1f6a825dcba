// Lets a few of many requests go at a time, so that they leave room for those that somebody waits for.

export class Gate {
  #free: number
  readonly #waiting: (() => void)[] = []
  #isOpen = false

  constructor(count: number) {
    this.#free = count
  }

  /** Nothing goes before this is called. */
  open(): void {
    this.#isOpen = true
    this.#next()
  }

  async take<T>(run: () => Promise<T>): Promise<T> {
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve)
      this.#next()
    })
    try {
      return await run()
    } finally {
      this.#free++
      this.#next()
    }
  }

  #next(): void {
    while (this.#isOpen && this.#free > 0 && this.#waiting.length > 0) {
      this.#free--
      this.#waiting.shift()!()
    }
  }
}
