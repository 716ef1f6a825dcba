// What the page and the decoding workers tell each other.

/** `bits` are those of a sample in memory, 8 or 16. */
export interface ExpectedForm {
  readonly rows: number
  readonly columns: number
  readonly samples: number
  readonly bits: number
  readonly signed: boolean
}

export interface DecodeJob {
  readonly id: number
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly expected: ExpectedForm
  readonly reduce: number
  /** CRC-32 of the samples of the whole frame. */
  readonly checksum: number | undefined
}

export type DecodeResult =
  | { readonly id: number; readonly width: number; readonly height: number; readonly data: Uint8Array<ArrayBuffer> }
  | { readonly id: number; readonly error: string }
