// Native bytes of one frame → samples, interleaved (PS3.5 8.1.1, 8.2; PS3.3 C.7.6.3.1.2, C.7.6.3.1.3).

import type { ImageDescription } from '../model/image'
import { sampleType } from '../model/image'
import type { DecodedFrame, SampleArray } from './frame'

/**
 * `bytes` are little endian and begin with the first bit of the frame. Throws an Error if they are too few.
 * `isSubsampled`: one CB and CR for two pixels, which stays so in frames that are stored natively.
 */
export function nativeFrame(bytes: Uint8Array, image: ImageDescription, isSubsampled: boolean): DecodedFrame {
  const { rows, columns, samples } = image
  const count = rows * columns * samples
  const frame = (data: SampleArray): DecodedFrame => ({ width: columns, height: rows, samples, data, reduce: 0 })
  if (image.bitsAllocated === 1) {
    check(bytes, Math.ceil(count / 8))
    const data = new Uint8Array(count)
    for (let i = 0; i < count; i++) data[i] = (bytes[i >> 3]! >> (i & 7)) & 1
    return frame(data)
  }
  const words = isSubsampled ? rows * columns * 2 : count
  check(bytes, words * (image.bitsAllocated / 8))
  const data = typed(bytes, image, words)
  checkAlignment(data, image)
  if (isSubsampled) return frame(expanded(data, count))
  return frame(samples > 1 && image.planar ? interleaved(data, rows * columns, samples) : data)
}

function check(bytes: Uint8Array, expected: number): void {
  if (bytes.length < expected || bytes.length > expected + 1) {
    throw new Error(`The frame has ${bytes.length} bytes, but its attributes say ${expected}.`)
  }
}

/**
 * Refuses samples that may not be in the lowest bits of their words, as PS3.5 8.1.1 now requires. HighBit alone is not
 * conclusive: some writers give a wrong one. So samples that fit BitsStored are shown.
 */
function checkAlignment(data: SampleArray, image: ImageDescription): void {
  const { bitsStored, highBit, signed } = image
  if (image.isFloat || highBit === undefined || highBit < bitsStored || highBit >= image.bitsAllocated) return
  for (let i = 0; i < data.length; i++) {
    // Nothing above, or the sign.
    const above = signed ? data[i]! >> bitsStored : data[i]! >>> bitsStored
    if (above === 0 || (signed && above === -1)) continue
    throw new Error(`HighBit is ${highBit} and BitsStored is ${bitsStored}, but samples have more bits: it is not clear which of them are the image`)
  }
}

/** A typed array over a copy that is aligned, if the bytes are not. */
function typed(bytes: Uint8Array, image: ImageDescription, count: number): SampleArray {
  const size = image.bitsAllocated / 8
  const own = bytes.byteOffset % size === 0 ? bytes : bytes.slice()
  const view = <T>(array: new (buffer: ArrayBufferLike, offset: number, length: number) => T): T =>
    new array(own.buffer, own.byteOffset, count)
  switch (sampleType(image)) {
    case 'i8':
      return view(Int8Array)
    case 'u16':
      return view(Uint16Array)
    case 'i16':
      return view(Int16Array)
    case 'u32':
      return view(Uint32Array)
    case 'i32':
      return view(Int32Array)
    case 'f32':
      return view(Float32Array)
    case 'f64':
      return view(Float64Array)
    default:
      return view(Uint8Array)
  }
}

function expanded(data: SampleArray, count: number): SampleArray {
  const out = new (data.constructor as new (length: number) => SampleArray)(count)
  for (let from = 0, to = 0; to < count; from += 4, to += 6) {
    out[to] = data[from]!
    out[to + 3] = data[from + 1]!
    out[to + 1] = out[to + 4] = data[from + 2]!
    out[to + 2] = out[to + 5] = data[from + 3]!
  }
  return out
}

function interleaved(data: SampleArray, pixels: number, samples: number): SampleArray {
  const out = new (data.constructor as new (length: number) => SampleArray)(data.length)
  for (let sample = 0; sample < samples; sample++) {
    const from = sample * pixels
    for (let i = 0; i < pixels; i++) out[i * samples + sample] = data[from + i]!
  }
  return out
}
