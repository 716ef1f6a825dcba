// Segmentations (PS3.3 A.51, C.8.20): their segments, and which of their frames belong on an image.

import { attributesOf } from '../model/attributes'
import type { Matrix } from '../model/camera'
import type { DisplaySet } from '../model/displaySets'
import type { Instance } from '../model/document'
import { frameAttributes } from '../model/frameAttributes'
import { type Plane, dot, planeOf, subtract } from '../model/geometry'

export const SEGMENTATION = '1.2.840.10008.5.1.4.1.1.66.4'
export const LABEL_MAP = '1.2.840.10008.5.1.4.1.1.66.7'

export interface Segment {
  /** Unique among the segmentations of a study. */
  readonly id: string
  readonly number: number
  readonly label: string
  /** As CSS writes it. */
  readonly colour: string
}

export interface Segmentation {
  readonly instance: Instance
  readonly name: string
  readonly segments: readonly Segment[]
  /** FRACTIONAL: a sample of this value is wholly in the segment; undefined for others. */
  readonly fractionalMaximum: number | undefined
  readonly isLabelMap: boolean
  /** The series that it names as those it is about; empty where it names none. */
  readonly about: ReadonlySet<string>
}

/** A frame of a segmentation on an image: `toImage` maps its pixels to those of the image. */
export interface SegmentFrame {
  readonly segmentation: Segmentation
  /** From 0. */
  readonly frame: number
  /** The segment that it shows; undefined for a label map, which shows all. */
  readonly segment: Segment | undefined
  readonly toImage: Matrix
}

// Okabe and Ito's colours, which people with colour blindness can tell apart, without the black.
const COLOURS = ['#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7']

/** The segmentations among the display sets of a study. */
export function segmentationsOf(sets: readonly DisplaySet[]): Segmentation[] {
  return sets
    .filter(({ sopClass }) => sopClass === SEGMENTATION || sopClass === LABEL_MAP)
    .flatMap((set) => set.instances.map(segmentationOf))
}

export function segmentationOf(instance: Instance): Segmentation {
  const { attributes } = instance
  const segments = attributes.items('SegmentSequence').flatMap((item): Segment[] => {
    const segment = attributesOf(item)
    const number = segment.number('SegmentNumber')
    // A label map has an item for its background, which is no segment.
    if (number === undefined || (instance.sopClass === LABEL_MAP && number === 0)) return []
    const type = segment.items('SegmentedPropertyTypeCodeSequence')[0]
    const label = segment.text('SegmentLabel') || (type && attributesOf(type).text('CodeMeaning')) || `Segment ${number}`
    return [{ id: `${instance.origin.imageSetId}/${instance.uid}/${number}`, number, label, colour: colourOf(segment.numbers('RecommendedDisplayCIELabValue'), number) }]
  })
  return {
    instance,
    name: attributes.text('SeriesDescription') || attributes.text('ContentLabel') || 'Segmentation',
    segments,
    fractionalMaximum: attributes.text('SegmentationType') === 'FRACTIONAL' ? (attributes.number('MaximumFractionalValue') ?? 255) : undefined,
    isLabelMap: instance.sopClass === LABEL_MAP,
    about: new Set(attributes.items('ReferencedSeriesSequence').map((item) => attributesOf(item).text('SeriesInstanceUID')).filter(Boolean))
  }
}

/** PCS-values of CIELab under D50 (C.10.7.1.1), which is what CSS means by `lab()`, too. */
function colourOf(lab: readonly number[], number: number): string {
  const [l = NaN, a = NaN, b = NaN] = lab
  if (![l, a, b].every(Number.isFinite)) return COLOURS[(number - 1 + COLOURS.length) % COLOURS.length]!
  const part = (value: number): string => ((value / 65535) * 255 - 128).toFixed(2)
  return `lab(${((l / 65535) * 100).toFixed(2)} ${part(a)} ${part(b)})`
}

/** Frames of segmentations that lie on images, looked up by image. */
export class SegmentIndex {
  readonly #byReference = new Map<string, { segmentation: Segmentation; frame: number }[]>()
  readonly #placed: { segmentation: Segmentation; frame: number; plane: Plane }[] = []
  readonly #known = new WeakMap<Instance, Map<number, SegmentFrame[]>>()

  constructor(readonly segmentations: readonly Segmentation[]) {
    for (const segmentation of segmentations) {
      for (let frame = 0; frame < segmentation.instance.frames.length; frame++) {
        const attributes = frameAttributes(segmentation.instance, frame)
        const plane = planeOf(attributes)
        if (plane) this.#placed.push({ segmentation, frame, plane })
        for (const source of attributes.items('SourceImageSequence')) {
          const reference = attributesOf(source)
          const numbers = reference.numbers('ReferencedFrameNumber')
          for (const number of numbers.length > 0 ? numbers : [1]) {
            const name = `${reference.text('ReferencedSOPInstanceUID')}/${number}`
            this.#byReference.set(name, [...(this.#byReference.get(name) ?? []), { segmentation, frame }])
          }
        }
      }
    }
  }

  /**
   * The frames that belong on a frame of an image: those in its plane, in the same frame of reference, wherever their
   * pixels are; and, without a plane of their own, those that were made from it and have its size. Nothing is
   * interpolated between planes: a mask never stands on an image that it was not drawn on.
   */
  on(instance: Instance, frame: number): readonly SegmentFrame[] {
    let frames = this.#known.get(instance)
    if (!frames) this.#known.set(instance, (frames = new Map()))
    let found = frames.get(frame)
    if (!found) frames.set(frame, (found = this.#find(instance, frame)))
    return found
  }

  #find(instance: Instance, frame: number): SegmentFrame[] {
    const attributes = frameAttributes(instance, frame)
    const plane = planeOf(attributes)
    const found: SegmentFrame[] = []
    if (plane) {
      for (const placed of this.#placed) {
        // In the same plane, other series may show another time: a mask stands on those that it was drawn for.
        const { about } = placed.segmentation
        if (about.size > 0 && !about.has(instance.seriesUid)) continue
        const toImage = inPlane(placed.plane, plane)
        if (toImage) found.push(made(placed.segmentation, placed.frame, toImage))
      }
    }
    for (const { segmentation, frame: from } of this.#byReference.get(`${instance.uid}/${frame + 1}`) ?? []) {
      const own = frameAttributes(segmentation.instance, from)
      if (planeOf(own) && plane) continue
      if (own.number('Rows') === attributes.number('Rows') && own.number('Columns') === attributes.number('Columns')) {
        found.push(made(segmentation, from, { a: 1, b: 0, c: 0, d: 1, e: 0, f: 0 }))
      }
    }
    return found
  }
}

function made(segmentation: Segmentation, frame: number, toImage: Matrix): SegmentFrame {
  const number = frameAttributes(segmentation.instance, frame).number('ReferencedSegmentNumber')
  const segment = segmentation.isLabelMap ? undefined : segmentation.segments.find((one) => one.number === number)
  return { segmentation, frame, segment, toImage }
}

const APART_MM = 0.1

/** From pixels of one plane to those of another, edges of pixels at whole numbers; undefined unless they are the same plane. */
export function inPlane(from: Plane, to: Plane): Matrix | undefined {
  if (from.frameOfReference === '' || from.frameOfReference !== to.frameOfReference) return undefined
  if (Math.abs(dot(from.normal, to.normal)) < 0.9999) return undefined
  // Corners of both planes: two that are hardly parallel are apart at their far ends.
  const ends = [0, from.columns].flatMap((x) => [0, from.rows].map((y) => along(from, x, y)))
  if (ends.some((end) => Math.abs(dot(subtract(end, to.position), to.normal)) > APART_MM)) return undefined
  const at = (x: number, y: number): { x: number; y: number } => {
    const offset = subtract(along(from, x, y), to.position)
    // Positions are those of the centres of pixels (C.7.6.2.1.1).
    return { x: dot(offset, to.right) / to.columnSpacing + 0.5, y: dot(offset, to.down) / to.rowSpacing + 0.5 }
  }
  const [origin, right, down] = [at(0, 0), at(1, 0), at(0, 1)]
  return { a: right.x - origin.x, b: right.y - origin.y, c: down.x - origin.x, d: down.y - origin.y, e: origin.x, f: origin.y }
}

function along(plane: Plane, x: number, y: number): [number, number, number] {
  const [right, down] = [(x - 0.5) * plane.columnSpacing, (y - 0.5) * plane.rowSpacing]
  return [0, 1, 2].map((i) => plane.position[i]! + right * plane.right[i]! + down * plane.down[i]!) as [number, number, number]
}
