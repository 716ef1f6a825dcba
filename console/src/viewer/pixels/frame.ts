// A decoded frame: its samples exactly as the file has them.

export type SampleArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array

export interface DecodedFrame {
  readonly width: number
  readonly height: number
  /** Samples per pixel, interleaved. */
  readonly samples: number
  readonly data: SampleArray
  /** How many times both sides were halved: 0 is the whole frame. */
  readonly reduce: number
}

export function bytesOf(frame: DecodedFrame): number {
  return frame.data.byteLength
}
