// The image pixel module (PS3.3 C.7.6.3): what the bytes of a frame mean.

import type { Attributes } from './attributes'
import type { Instance } from './document'

export type SampleType = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64' | 'bit'

export interface ImageDescription {
  readonly rows: number
  readonly columns: number
  readonly samples: number
  readonly bitsAllocated: number
  readonly bitsStored: number
  /** As the file says; undefined where it does not. */
  readonly highBit: number | undefined
  readonly signed: boolean
  readonly isFloat: boolean
  readonly photometric: string
  /** Whether native frames keep each colour in a plane of its own. */
  readonly planar: boolean
}

const PARAMETRIC_MAP = '1.2.840.10008.5.1.4.1.1.30'

export class NotAnImage extends Error {}

/** The description of all frames of an instance. Throws `NotAnImage` where it has none that can be shown. */
export function describeImage(attributes: Attributes): ImageDescription {
  const number = (keyword: string): number | undefined => attributes.number(keyword)
  const rows = number('Rows') ?? 0
  const columns = number('Columns') ?? 0
  const bitsAllocated = number('BitsAllocated') ?? 0
  if (rows < 1 || columns < 1 || bitsAllocated < 1) {
    throw new NotAnImage('The instance has no Rows, Columns or BitsAllocated, so it is not an image.')
  }
  const isFloat =
    bitsAllocated === 64 ||
    (bitsAllocated === 32 &&
      (attributes.text('SOPClassUID') === PARAMETRIC_MAP || !attributes.has('PixelRepresentation')))
  const bitsStored = number('BitsStored') ?? bitsAllocated
  return {
    rows,
    columns,
    samples: number('SamplesPerPixel') ?? 1,
    bitsAllocated,
    bitsStored: bitsStored >= 1 && bitsStored <= bitsAllocated ? bitsStored : bitsAllocated,
    highBit: number('HighBit'),
    signed: !isFloat && number('PixelRepresentation') === 1,
    isFloat,
    photometric: attributes.text('PhotometricInterpretation').toUpperCase(),
    planar: number('PlanarConfiguration') === 1
  }
}

const known = new WeakMap<Instance, ImageDescription>()

/** As `describeImage`, of an instance; found once, since it is asked for with each frame. */
export function imageOf(instance: Instance): ImageDescription {
  let found = known.get(instance)
  if (!found) known.set(instance, (found = describeImage(instance.attributes)))
  return found
}

export function sampleType(image: ImageDescription): SampleType {
  if (image.isFloat) return image.bitsAllocated === 64 ? 'f64' : 'f32'
  const sign = image.signed ? 'i' : 'u'
  switch (image.bitsAllocated) {
    case 1:
      return 'bit'
    case 8:
      return `${sign}8`
    case 16:
      return `${sign}16`
    case 32:
      return `${sign}32`
    default:
      throw new NotAnImage(`Samples of ${image.bitsAllocated} bits cannot be shown.`)
  }
}

export function isMonochrome(photometric: string): boolean {
  return photometric === 'MONOCHROME1' || photometric === 'MONOCHROME2' || photometric === ''
}

/** The photometric interpretation of samples that were decoded: codecs undo some transforms (PS3.5 8.2). */
export function decodedPhotometric(image: ImageDescription, storedSyntax: string): string {
  if (image.photometric === 'YBR_RCT' || image.photometric === 'YBR_ICT') return 'RGB'
  // The server expands subsampled chrominance of JPEG to RGB; that of native frames stays YBR.
  if (image.photometric === 'YBR_FULL_422' || image.photometric === 'YBR_PARTIAL_422') {
    if (storedSyntax === JPEG_BASELINE) return 'RGB'
    return image.photometric.slice(0, -4)
  }
  return image.photometric
}

const JPEG_BASELINE = '1.2.840.10008.1.2.4.50'
