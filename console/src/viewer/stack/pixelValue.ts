// The value of one pixel in words, with its unit where the file says which one it is.

import type { Attributes } from '../model/attributes'
import type { Point } from '../model/camera'
import { type ImageDescription, isMonochrome } from '../model/image'
import type { DecodedFrame } from '../pixels/frame'
import { applyModality, modalityTransform, paddingOf, withoutOtherBits } from '../pixels/greyscale'

/** The value of the modality at a point of a whole image; empty outside of it, of colours and of small pictures. */
export function pixelValue(frame: DecodedFrame, point: Point, attributes: Attributes, image: ImageDescription): string {
  const [x, y] = [Math.floor(point.x), Math.floor(point.y)]
  if (frame.reduce > 0 || frame.samples > 1 || !isMonochrome(image.photometric)) return ''
  if (!(x >= 0 && y >= 0 && x < frame.width && y < frame.height)) return ''
  const raw = frame.data[y * frame.width + x]!
  const stored = image.isFloat || image.bitsAllocated > 16 ? raw : withoutOtherBits(raw, image)
  const padding = paddingOf(attributes)
  if (padding && stored >= padding[0] && stored <= padding[1]) return 'padding'
  const value = applyModality(modalityTransform(attributes), stored)
  if (!Number.isFinite(value)) return 'no number'
  // Digits that come of binary fractions are cut off.
  return [String(Number(value.toPrecision(7))), unitOf(attributes)].filter(Boolean).join(' ')
}

/** Hounsfield units and the units of PET; empty where the file does not say. */
function unitOf(attributes: Attributes): string {
  const modality = attributes.text('Modality')
  if (modality === 'PT') return attributes.text('Units')
  const type = attributes.text('RescaleType').toUpperCase() || attributes.text('ModalityLUTType').toUpperCase()
  if (type === 'HU') return 'HU'
  // PS3.3 C.8.2.1: a CT image whose values are of another type says so. Those of localizers are of none.
  const isSection = modality === 'CT' && attributes.texts('ImageType')[2] !== 'LOCALIZER' && attributes.has('RescaleIntercept')
  return isSection && type === '' ? 'HU' : ''
}
