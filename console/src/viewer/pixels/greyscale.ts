// Samples of a monochrome frame → greys: modality LUT, VOI LUT, presentation (PS3.4 N.2.1), without rounding between.

import { type Attributes, attributesOf } from '../model/attributes'
import type { ImageDescription } from '../model/image'
import { type LookupTable, look, lookupTable } from '../model/lookupTable'
import type { Voi, Window } from '../model/windows'
import { spanning } from '../model/windows'
import type { DecodedFrame, SampleArray } from './frame'

/** From stored values to those of the modality, such as Hounsfield units. */
export type ModalityTransform =
  | { readonly kind: 'linear'; readonly slope: number; readonly intercept: number }
  | { readonly kind: 'table'; readonly table: LookupTable }

/** Throws an Error where the file has a table that cannot be read: without it the values would be others. */
export function modalityTransform(attributes: Attributes): ModalityTransform {
  const item = attributes.items('ModalityLUTSequence')[0]
  const table = item && lookupTable(attributesOf(item))
  if (table) return { kind: 'table', table }
  if (item) throw new Error('The Modality LUT of the image is not valid.')
  const slope = attributes.number('RescaleSlope')
  const intercept = attributes.number('RescaleIntercept')
  if (slope === undefined || intercept === undefined) return { kind: 'linear', slope: 1, intercept: 0 }
  return { kind: 'linear', slope, intercept }
}

export function applyModality(transform: ModalityTransform, stored: number): number {
  if (transform.kind === 'table') return look(transform.table, stored)
  return stored * transform.slope + transform.intercept
}

/** 0 to 1, PS3.3 C.11.2.1.2.1 to C.11.2.1.3.2. */
export function windowed(window: Window, value: number): number {
  const { center, width } = window
  switch (window.function) {
    case 'LINEAR': {
      const below = center - 0.5
      const span = width - 1
      if (value <= below - span / 2) return 0
      if (value > below + span / 2) return 1
      return (value - below) / span + 0.5
    }
    case 'LINEAR_EXACT':
      if (value <= center - width / 2) return 0
      if (value > center + width / 2) return 1
      return (value - center) / width + 0.5
    case 'SIGMOID':
      return 1 / (1 + Math.exp((-4 * (value - center)) / width))
  }
}

export interface GreyTransform {
  readonly image: ImageDescription
  readonly modality: ModalityTransform
  readonly voi: Voi
  /** Whether low values are bright: of MONOCHROME1, or by the reader's wish. */
  readonly inverse: boolean
}

/** 0 to 255 for a stored value. */
export function greyOf(transform: GreyTransform, stored: number): number {
  const value = applyModality(transform.modality, stored)
  let shade: number
  if (transform.voi.kind === 'window') shade = windowed(transform.voi.window, value)
  else {
    const { table } = transform.voi
    shade = look(table, value) / ((1 << table.bits) - 1)
  }
  if (!(shade >= 0)) shade = 0
  const grey = Math.floor(Math.min(shade, 1) * 255 + 0.5)
  return transform.inverse ? 255 - grey : grey
}

/**
 * By PhotometricInterpretation, which every image has (PS3.3 C.7.6.3.1.2), as on the server. Where an image has a
 * PresentationLUTShape, too, that has to say the same (PS3.3 C.7.6.1, C.8.11.3): it says what the output is, P-Values, and
 * is no further step. If it says otherwise, it is the one of the two that devices are known to write wrongly. Only
 * presentation states overrule an image (PS3.4 N.2.1.4, PS3.3 C.11.6).
 */
export function isInverse(image: ImageDescription, wish: boolean): boolean {
  return (image.photometric === 'MONOCHROME1') !== wish
}

const ALPHA = 0xff000000

/** RGBA pixels of a monochrome frame; `out` is reused if it fits. Words are little endian, as all browsers' are. */
export function drawGrey(frame: DecodedFrame, transform: GreyTransform, out?: Uint32Array): Uint32Array {
  const { data } = frame
  const pixels = out?.length === data.length ? out : new Uint32Array(data.length)
  if (data.BYTES_PER_ELEMENT > 2 || data instanceof Float32Array || data instanceof Float64Array) {
    for (let i = 0; i < data.length; i++) pixels[i] = ALPHA | (greyOf(transform, data[i]!) * 0x010101)
    return pixels
  }
  const { image } = transform
  const [low, high] = storedRange(data)
  const table = new Uint32Array(high - low + 1)
  for (let word = low; word <= high; word++) {
    table[word - low] = ALPHA | (greyOf(transform, storedValue(word, image, frame.reduce)) * 0x010101)
  }
  for (let i = 0; i < data.length; i++) pixels[i] = table[data[i]! - low]!
  return pixels
}

/** A value without other bits in its word, such as those of old overlays (PS3.5 8.1.1). */
export function withoutOtherBits(word: number, image: ImageDescription): number {
  const unused = 32 - image.bitsStored
  if (image.bitsStored >= image.bitsAllocated) return word
  return image.signed ? (word << unused) >> unused : word & ((1 << image.bitsStored) - 1)
}

/** The stored value of a sample. Those of small pictures overshoot at edges: a bit beyond the ends means the end, not the other one. */
function storedValue(word: number, image: ImageDescription, reduce: number): number {
  if (reduce === 0 || image.bitsStored >= image.bitsAllocated) return withoutOtherBits(word, image)
  const span = 2 ** image.bitsStored
  const least = image.signed ? -span / 2 : 0
  const most = least + span - 1
  // Farther beyond them are other bits of the word, or a sign that was not extended to them.
  const isNear = word >= least - span / 8 && word <= most + span / 8
  return isNear ? Math.min(most, Math.max(least, word)) : withoutOtherBits(word, image)
}

function storedRange(data: SampleArray): [number, number] {
  let low = Infinity
  let high = -Infinity
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!
    if (value < low) low = value
    if (value > high) high = value
  }
  return low <= high ? [low, high] : [0, 0]
}

/** Least and greatest value of the modality without padding, each after a share of the pixels was cut off. */
export function valueRange(frame: DecodedFrame, attributes: Attributes, image: ImageDescription, cut = 0): [number, number] {
  const modality = modalityTransform(attributes)
  const padding = paddingOf(attributes)
  const step = Math.max(1, Math.floor(frame.data.length / 262144))
  const kept: number[] = []
  for (let i = 0; i < frame.data.length; i += step) {
    const raw = frame.data[i]!
    const stored = image.isFloat || image.bitsAllocated > 16 ? raw : storedValue(raw, image, frame.reduce)
    if (Number.isFinite(stored) && !(padding && stored >= padding[0] && stored <= padding[1])) kept.push(stored)
  }
  if (kept.length === 0) return [0, 1]
  const sorted = Float64Array.from(kept).sort()
  const last = sorted.length - 1
  const ends = [sorted[Math.round(last * cut)]!, sorted[Math.round(last * (1 - cut))]!].map((stored) =>
    applyModality(modality, stored)
  )
  return [Math.min(...ends), Math.max(...ends)]
}

/** From which stored value to which is padding (PS3.3 C.7.5.1.1.2). */
export function paddingOf(attributes: Attributes): [number, number] | undefined {
  const value = attributes.number('PixelPaddingValue')
  if (value === undefined) return undefined
  const limit = attributes.number('PixelPaddingRangeLimit') ?? value
  return [Math.min(value, limit), Math.max(value, limit)]
}

/** A window for an image whose file has none: all values of 8 bits, otherwise those that the frame has. */
export function fallbackWindow(frame: DecodedFrame, attributes: Attributes, image: ImageDescription): Window {
  if (image.bitsStored === 1) return spanning(0, 1)
  if (image.bitsAllocated === 8 && !image.signed && modalityTransform(attributes).kind === 'linear') {
    const ends = [0, (1 << image.bitsStored) - 1].map((stored) => applyModality(modalityTransform(attributes), stored))
    return spanning(Math.min(...ends), Math.max(...ends))
  }
  return spanning(...valueRange(frame, attributes, image))
}

/** A window in which the frame shows well: without the darkest and the brightest hundredth of its pixels. */
export function automaticWindow(frame: DecodedFrame, attributes: Attributes, image: ImageDescription): Window {
  const [low, high] = valueRange(frame, attributes, image, 0.005)
  return spanning(low, high > low ? high : low + 1)
}
