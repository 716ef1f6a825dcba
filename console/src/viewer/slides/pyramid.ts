// Whole slide images (PS3.3 A.32.8, C.8.12.4): the levels of a pyramid, and which frame is at which place.

import { type Item, attributesOf } from '../model/attributes'
import type { Instance } from '../model/document'

export const WHOLE_SLIDE = '1.2.840.10008.5.1.4.1.1.77.1.6'

export interface Level {
  readonly instance: Instance
  /** Of the whole matrix, in pixels. */
  readonly width: number
  readonly height: number
  readonly tileWidth: number
  readonly tileHeight: number
  /** Millimetres from pixel to pixel along a row; undefined where the file does not say. */
  readonly spacing: number | undefined
  /** The frame (from 0) of a tile; undefined where there is none. */
  readonly frameAt: (column: number, row: number) => number | undefined
}

export interface Pyramid {
  /** The largest first. */
  readonly levels: readonly Level[]
  /** What is not shown of it, as a sentence; empty if all is. */
  readonly leftOut: string
}

export class NotAPyramid extends Error {}

/** Whether an instance is a tiled level of a slide, rather than its label or an overview. */
export function isSlideLevel({ sopClass, attributes, frames }: Instance): boolean {
  if (sopClass !== WHOLE_SLIDE || frames.length === 0 || !attributes.has('TotalPixelMatrixColumns')) return false
  const flavour = attributes.texts('ImageType')[2]?.trim() ?? ''
  // A thumbnail is the top of the pyramid.
  if (flavour !== 'VOLUME' && flavour !== 'THUMBNAIL') return false
  const samples = attributes.number('SamplesPerPixel') ?? 1
  // Other greys have no window of their own here; as a stack, they have.
  const [allocated, stored] = [attributes.number('BitsAllocated'), attributes.number('BitsStored')]
  const isGrey = attributes.text('PhotometricInterpretation') === 'MONOCHROME2' && allocated === 8 && stored === 8
  return samples === 3 || (isGrey && attributes.number('PixelRepresentation') !== 1)
}

/** Throws `NotAPyramid` where the levels do not fit together, or their tiles lie on no grid. */
export function pyramidOf(instances: readonly Instance[]): Pyramid {
  const levels = instances.map(levelOf).sort((a, b) => b.width - a.width)
  const [base] = levels
  if (!base) throw new NotAPyramid('The slide has no levels.')
  // Sides are rounded at each level, so shapes differ by some pixels.
  const fitting = levels.filter(({ width, height }, i) => {
    const isAgain = i > 0 && levels[i - 1]!.width === width
    return !isAgain && Math.abs(width / base.width - height / base.height) <= 2 / Math.min(width, height) + 0.01
  })
  const leftOut: string[] = []
  if (fitting.length < levels.length) leftOut.push('images of another shape')
  const paths = base.instance.attributes.number('NumberOfOpticalPaths') ?? base.instance.attributes.items('OpticalPathSequence').length
  if (paths > 1) leftOut.push(others('optical path', paths))
  const planes = base.instance.attributes.number('TotalPixelMatrixFocalPlanes') ?? 1
  if (planes > 1) leftOut.push(others('focal plane', planes))
  return { levels: fitting, leftOut: leftOut.length === 0 ? '' : `Not shown: ${leftOut.join(', ')}.` }
}

function others(noun: string, count: number): string {
  return count === 2 ? `${noun} 2` : `${noun}s 2 to ${count}`
}

function levelOf(instance: Instance): Level {
  const { attributes } = instance
  const [width, height, tileWidth, tileHeight] = ['TotalPixelMatrixColumns', 'TotalPixelMatrixRows', 'Columns', 'Rows'].map(
    (keyword) => attributes.number(keyword) ?? 0
  ) as [number, number, number, number]
  if (!(width > 0 && height > 0 && tileWidth > 0 && tileHeight > 0)) throw new NotAPyramid('A level of the slide has no size.')
  const across = Math.ceil(width / tileWidth)
  const down = Math.ceil(height / tileHeight)
  const shared = attributes.items('SharedFunctionalGroupsSequence')[0]
  const measures = shared && attributesOf(shared).items('PixelMeasuresSequence')[0]
  const spacing = measures && attributesOf(measures).numbers('PixelSpacing')[1]
  const isSparse = attributes.text('DimensionOrganizationType') !== 'TILED_FULL'
  const places = isSparse ? sparse(instance, tileWidth, tileHeight) : undefined
  if (!places && instance.frames.length < across * down) throw new NotAPyramid('A level of the slide has fewer tiles than its size needs.')
  return {
    instance,
    width,
    height,
    tileWidth,
    tileHeight,
    spacing: spacing && spacing > 0 ? spacing : undefined,
    // TILED_FULL: row by row; further focal planes and optical paths follow (C.7.6.17.3).
    frameAt: (column, row) => {
      if (column < 0 || row < 0 || column >= across || row >= down) return undefined
      return places ? places.get(`${column},${row}`) : row * across + column
    }
  }
}

/** Frames by their place; those of the first focal plane and optical path, which come first. */
function sparse(instance: Instance, tileWidth: number, tileHeight: number): Map<string, number> {
  const places = new Map<string, number>()
  const groups = instance.attributes.items('PerFrameFunctionalGroupsSequence')
  if (groups.length < instance.frames.length) throw new NotAPyramid('The slide does not say where its tiles lie.')
  // Of several optical paths, one may have tiles where another has none; they are not to be mixed.
  const paths = groups.map(opticalPath)
  const first = instance.attributes.items('OpticalPathSequence').map((path) => attributesOf(path).text('OpticalPathIdentifier'))[0]
  const shown = first !== undefined && paths.includes(first) ? first : paths[0]
  groups.slice(0, instance.frames.length).forEach((group, frame) => {
    if (paths[frame] !== shown) return
    const position = attributesOf(attributesOf(group).items('PlanePositionSlideSequence')[0] ?? {})
    const left = (position.number('ColumnPositionInTotalImagePixelMatrix') ?? NaN) - 1
    const top = (position.number('RowPositionInTotalImagePixelMatrix') ?? NaN) - 1
    if (!(left % tileWidth === 0 && top % tileHeight === 0)) throw new NotAPyramid('The tiles of the slide lie on no grid.')
    const place = `${left / tileWidth},${top / tileHeight}`
    if (!places.has(place)) places.set(place, frame)
  })
  return places
}

/** Empty where the frames do not say. */
function opticalPath(group: Item): string {
  return attributesOf(attributesOf(group).items('OpticalPathIdentificationSequence')[0] ?? {}).text('OpticalPathIdentifier')
}
