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

/** A region of an ultrasound image, in pixels of the image; `right` and `bottom` are the last ones inside. */
export interface Region {
  readonly left: number
  readonly top: number
  readonly right: number
  readonly bottom: number
  /** Millimetres; undefined where its axes are no distances, as those of spectra and M-modes. */
  readonly scale: { readonly row: number; readonly column: number } | undefined
}

const PROJECTION = new Set(['CR', 'DX', 'MG', 'XA', 'RF', 'IO', 'PX', 'RG', 'DR'])
const CENTIMETRES = 3
const TWO_DIMENSIONAL = 1

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

/** The regions of an ultrasound image, whatever is in them. */
export function regionsOf(attributes: Attributes): Region[] {
  return attributes.items('SequenceOfUltrasoundRegions').flatMap((item) => {
    const region = attributesOf(item)
    const at = (keyword: string): number => region.number(keyword) ?? NaN
    const [left, top] = [at('RegionLocationMinX0'), at('RegionLocationMinY0')]
    const [right, bottom] = [at('RegionLocationMaxX1'), at('RegionLocationMaxY1')]
    if (![left, top, right, bottom].every(Number.isFinite)) return []
    const [column, row] = [Math.abs(at('PhysicalDeltaX')) * 10, Math.abs(at('PhysicalDeltaY')) * 10]
    const isPlane = (region.number('RegionSpatialFormat') ?? TWO_DIMENSIONAL) === TWO_DIMENSIONAL
    const isSpatial = isPlane && at('PhysicalUnitsXDirection') === CENTIMETRES && at('PhysicalUnitsYDirection') === CENTIMETRES
    const isValid = Number.isFinite(row) && Number.isFinite(column) && row > 0 && column > 0
    return [{ left, top, right, bottom, scale: isSpatial && isValid ? { row, column } : undefined }]
  })
}

/**
 * Spacing at points of an image: that of the ultrasound region that holds them all, else pixels. Where regions overlap
 * it is known only if all of them have the same scale (PS3.3 C.8.5.5.1.3): RegionFlags tell whose pixels are on top, and
 * a spectrum within a plane is as often marked wrongly. PixelSpacing of an image with regions would be that of one of them.
 */
export function spacingAt(points: readonly { x: number; y: number }[], regions: readonly Region[], image: Spacing): Spacing {
  if (regions.length === 0) return image
  const pixels = (note: string): Spacing => (image.unit === 'px' ? { ...image, note } : { row: 1, column: 1, unit: 'px', note })
  const holds = ({ left, top, right, bottom }: Region, { x, y }: { x: number; y: number }): boolean => x >= left && x <= right + 1 && y >= top && y <= bottom + 1
  const around = points.map((point) => regions.filter((region) => holds(region, point)))
  if (around.some((found) => found.length === 0)) return pixels('outside the calibrated region')
  const common = around[0]!.filter((region) => around.every((found) => found.includes(region)))
  const touched = new Set(around.flat())
  const scale = common[0]?.scale
  if (!scale) return pixels(common.length === 0 ? 'from one region to another' : 'the region has no lengths')
  if ([...touched].some((region) => !region.scale || !same(region.scale, scale))) return pixels('regions overlap here')
  return { ...scale, unit: 'mm', note: '' }
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
