// How long a pixel is, and how far that may be trusted (PS3.3 10.7.1.3, C.8.5.5).

import { Attributes, attributesOf } from './attributes'

export interface Spacing {
  /** Between the centres of adjacent rows: along a column. */
  readonly row: number
  /** Between the centres of adjacent columns: along a row. */
  readonly column: number
  readonly unit: 'mm' | 'px'
  /** What a reader has to know of it; empty where it is plain millimetres in the patient. */
  readonly note: string
}

/** Regions of an ultrasound image in which distances are known, in pixels of the image. */
export interface Region {
  readonly left: number
  readonly top: number
  readonly right: number
  readonly bottom: number
  readonly row: number
  readonly column: number
}

const PROJECTION = new Set(['CR', 'DX', 'MG', 'XA', 'RF', 'IO', 'PX', 'RG', 'DR'])
const CENTIMETRES = 3

/**
 * PixelSpacing is millimetres in the patient, unless the image is a projection: there it is so only if it was
 * calibrated, otherwise it repeats ImagerPixelSpacing, which is at the detector. Without any of them: pixels.
 */
export function spacingOf(attributes: Attributes): Spacing {
  const spacing = pair(attributes, 'PixelSpacing')
  const imager = pair(attributes, 'ImagerPixelSpacing')
  const isProjection = PROJECTION.has(attributes.text('Modality'))
  if (spacing && !isProjection) return { ...spacing, unit: 'mm', note: '' }
  if (spacing && isProjection) {
    const type = attributes.text('PixelSpacingCalibrationType')
    if (type === 'FIDUCIAL') return { ...spacing, unit: 'mm', note: 'calibrated by a fiducial' }
    if (type === 'GEOMETRY') return { ...spacing, unit: 'mm', note: 'corrected for magnification' }
    if (imager && !same(spacing, imager)) return { ...spacing, unit: 'mm', note: 'calibrated' }
    if (imager) return { ...spacing, unit: 'mm', note: 'at the detector, magnified' }
    return { ...spacing, unit: 'mm', note: 'calibration unknown' }
  }
  if (imager) return { ...imager, unit: 'mm', note: 'at the detector, magnified' }
  const nominal = pair(attributes, 'NominalScannedPixelSpacing')
  if (nominal) return { ...nominal, unit: 'mm', note: 'on the scanned film' }
  const ratio = pair(attributes, 'PixelAspectRatio')
  if (ratio && ratio.row !== ratio.column) {
    return { row: ratio.row / ratio.column, column: 1, unit: 'px', note: 'pixels are not square' }
  }
  return { row: 1, column: 1, unit: 'px', note: '' }
}

/** Regions in centimetres of an ultrasound image, those in front last. */
export function regionsOf(attributes: Attributes): Region[] {
  return attributes.items('SequenceOfUltrasoundRegions').flatMap((item) => {
    const region = attributesOf(item)
    const at = (keyword: string): number => region.number(keyword) ?? NaN
    const made: Region = {
      left: at('RegionLocationMinX0'),
      top: at('RegionLocationMinY0'),
      right: at('RegionLocationMaxX1'),
      bottom: at('RegionLocationMaxY1'),
      column: Math.abs(at('PhysicalDeltaX')) * 10,
      row: Math.abs(at('PhysicalDeltaY')) * 10
    }
    const isSpatial = at('PhysicalUnitsXDirection') === CENTIMETRES && at('PhysicalUnitsYDirection') === CENTIMETRES
    const isValid = Object.values(made).every(Number.isFinite) && made.row > 0 && made.column > 0
    return isSpatial && isValid ? [made] : []
  })
}

/** Spacing at points of an image: of the ultrasound region that holds them all, else of the image. */
export function spacingAt(points: readonly { x: number; y: number }[], regions: readonly Region[], image: Spacing): Spacing {
  if (image.unit === 'mm' || regions.length === 0) return image
  const holds = (region: Region): boolean =>
    points.every(({ x, y }) => x >= region.left && x <= region.right + 1 && y >= region.top && y <= region.bottom + 1)
  const region = [...regions].reverse().find(holds)
  if (!region) return { ...image, note: 'outside the calibrated region' }
  return { row: region.row, column: region.column, unit: 'mm', note: '' }
}

/** Width of a pixel as a multiple of its height. */
export function aspectOf(spacing: Spacing): number {
  const ratio = spacing.column / spacing.row
  return Number.isFinite(ratio) && ratio > 1e-3 && ratio < 1e3 ? ratio : 1
}

function pair(attributes: Attributes, keyword: string): { row: number; column: number } | undefined {
  const [row, column] = attributes.numbers(keyword)
  if (row === undefined || column === undefined) return undefined
  return Number.isFinite(row) && Number.isFinite(column) && row > 0 && column > 0 ? { row, column } : undefined
}

function same(one: { row: number; column: number }, other: { row: number; column: number }): boolean {
  const near = (a: number, b: number): boolean => Math.abs(a - b) <= 1e-4 * Math.max(a, b)
  return near(one.row, other.row) && near(one.column, other.column)
}
