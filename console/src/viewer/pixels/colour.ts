// Samples of a colour frame → red, green and blue (PS3.3 C.7.6.3.1.2, C.7.6.3.1.5).

import type { Attributes } from '../model/attributes'
import type { ImageDescription } from '../model/image'
import { type LookupTable, look, palette } from '../model/lookupTable'
import type { DecodedFrame } from './frame'

const ALPHA = 0xff000000

/** RGBA pixels of a frame in a colour space of decoded samples. Throws an Error that says what cannot be shown. */
export function drawColour(
  frame: DecodedFrame,
  image: ImageDescription,
  attributes: Attributes,
  photometric: string,
  inverse: boolean
): Uint32Array {
  const pixels = photometric === 'PALETTE COLOR' ? drawPalette(frame, attributes) : drawSamples(frame, image, photometric)
  if (inverse) for (let i = 0; i < pixels.length; i++) pixels[i] = ~pixels[i]! | ALPHA
  return pixels
}

function drawPalette(frame: DecodedFrame, attributes: Attributes): Uint32Array {
  const tables = palette(attributes)
  if (!tables || frame.samples !== 1) throw new Error('The palette of this image is missing or not valid.')
  const { data } = frame
  const pixels = new Uint32Array(data.length)
  const known = new Map<number, number>()
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!
    let colour = known.get(value)
    if (colour === undefined) {
      const [red, green, blue] = tables.map((table) => eightBits(table, value)) as [number, number, number]
      colour = ALPHA | (blue << 16) | (green << 8) | red
      known.set(value, colour)
    }
    pixels[i] = colour
  }
  return pixels
}

function eightBits(table: LookupTable, value: number): number {
  const entry = look(table, value)
  return table.bits > 8 ? Math.min(255, entry >> (table.bits - 8)) : Math.min(255, entry)
}

function drawSamples(frame: DecodedFrame, image: ImageDescription, photometric: string): Uint32Array {
  const { data, samples } = frame
  const convert = CONVERSIONS[photometric]
  if (samples !== 3 || image.isFloat || !convert) {
    throw new Error(`Images of ${samples} samples in ${photometric || 'no photometric interpretation'} cannot be shown.`)
  }
  const pixels = new Uint32Array(data.length / 3)
  const maximum = image.bitsStored >= 32 ? 0xffffffff : 2 ** image.bitsStored - 1
  const isByte = image.bitsStored === 8 && data instanceof Uint8Array
  const eight = (value: number): number => {
    const masked = maximum === 0xffffffff ? value >>> 0 : value & maximum
    return Math.floor((masked * 255 + Math.floor(maximum / 2)) / maximum)
  }
  for (let i = 0, at = 0; i < pixels.length; i++, at += 3) {
    const [a, b, c] = [data[at]!, data[at + 1]!, data[at + 2]!]
    pixels[i] = isByte ? convert(a, b, c) : convert(eight(a), eight(b), eight(c))
  }
  return pixels
}

const CONVERSIONS: Record<string, (a: number, b: number, c: number) => number> = {
  RGB: (red, green, blue) => ALPHA | (blue << 16) | (green << 8) | red,
  YBR_FULL: (y, cb, cr) => packed(y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)),
  // ITU-R BT.601, limited range: 16 to 235 and 16 to 240.
  YBR_PARTIAL: (y, cb, cr) =>
    packed(
      1.164383 * (y - 16) + 1.596027 * (cr - 128),
      1.164383 * (y - 16) - 0.391762 * (cb - 128) - 0.812968 * (cr - 128),
      1.164383 * (y - 16) + 2.017232 * (cb - 128)
    )
}

function packed(red: number, green: number, blue: number): number {
  return ALPHA | (clamp(blue) << 16) | (clamp(green) << 8) | clamp(red)
}

function clamp(value: number): number {
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.floor(value + 0.5)
}
