// Parallel slices at even distances as one block of values, for planes that the scanner did not make.

import type { DisplaySet } from '../model/displaySets'
import { frameAttributes } from '../model/frameAttributes'
import { type Plane, type Vector, cross, dot, planeOf, subtract } from '../model/geometry'
import { describeImage, isMonochrome } from '../model/image'
import type { Window } from '../model/windows'
import { fileVois, spanning } from '../model/windows'
import type { Decoders } from '../pixels/decoders'
import type { DecodedFrame } from '../pixels/frame'
import { applyModality, isInverse, modalityTransform, withoutOtherBits } from '../pixels/greyscale'
import { decodeStored, decodedByServer, isDecodedHere } from '../pixels/oneFrame'
import type { ImageSource } from '../source'

export const LEAST_SLICES = 4
const MOST_BYTES = 768 << 20

export interface Grid {
  readonly columns: number
  readonly rows: number
  readonly slices: number
  /** Millimetres along a row, along a column, from slice to slice. */
  readonly spacing: Vector
  readonly origin: Vector
  readonly right: Vector
  readonly down: Vector
  /** From slice to slice; the frames of the set are in this order, or in the other if `isReversed`. */
  readonly through: Vector
  readonly isReversed: boolean
  readonly frameOfReference: string
}

export class NotAVolume extends Error {}

/** Whether a viewport holds slices that may be a volume; what stands against it is said when it is tried. */
export function canBePlanes(set: DisplaySet | undefined): boolean {
  const first = set?.frames[0]
  if (!set || !first || set.frames.length < LEAST_SLICES || (set.kind !== 'stack' && set.kind !== 'multiframe')) return false
  return planeOf(frameAttributes(first.instance, first.frame)) !== undefined
}

/** Throws `NotAVolume`, which says why, for what is no block of even slices. */
export function gridOf(set: DisplaySet): Grid {
  if (set.frames.length < LEAST_SLICES) throw new NotAVolume(`A volume needs at least ${LEAST_SLICES} slices.`)
  const planes = set.frames.map(({ instance, frame }): Plane => {
    const attributes = frameAttributes(instance, frame)
    const image = describeImage(attributes)
    if (!isMonochrome(image.photometric) || image.samples !== 1) throw new NotAVolume('Colour images make no volume.')
    const plane = planeOf(attributes)
    if (!plane) throw new NotAVolume('The images do not say where they lie in the patient.')
    return plane
  })
  const first = planes[0]!
  const last = planes[planes.length - 1]!
  const step = dot(subtract(last.position, first.position), first.normal) / (planes.length - 1)
  const distance = Math.abs(step)
  if (distance < 1e-3) throw new NotAVolume('The images lie in one plane.')
  planes.forEach((plane, at) => {
    // A quarter of a degree: at the edge of a large image that is a millimetre.
    const isParallel = angle(plane.right, first.right) < 0.0045 && angle(plane.down, first.down) < 0.0045
    const isSame = plane.rows === first.rows && plane.columns === first.columns && near(plane.rowSpacing, first.rowSpacing) && near(plane.columnSpacing, first.columnSpacing)
    if (!isParallel || !isSame || plane.frameOfReference !== first.frameOfReference) throw new NotAVolume('The images are not parallel, or not of one size.')
    const offset = subtract(plane.position, first.position)
    // A missing slice, or another distance, would put everything behind it in the wrong place.
    if (Math.abs(dot(offset, first.normal) - step * at) > 0.1 * distance) throw new NotAVolume('The slices are not at even distances, or one is missing.')
    if (Math.hypot(dot(offset, first.right), dot(offset, first.down)) > 0.1) throw new NotAVolume('The slices are sheared: the gantry was tilted.')
  })
  const isReversed = step < 0
  return {
    columns: first.columns,
    rows: first.rows,
    slices: planes.length,
    spacing: [first.columnSpacing, first.rowSpacing, distance],
    origin: (isReversed ? last : first).position,
    right: first.right,
    down: first.down,
    through: first.normal,
    isReversed,
    frameOfReference: first.frameOfReference
  }
}

function angle(one: Vector, other: Vector): number {
  const across = cross(one, other)
  return Math.atan2(Math.hypot(...across), dot(one, other))
}

/** A slice, counted from the lowest, as Cornerstone's image plane module. */
export function planeOfSlice(grid: Grid, slice: number): Record<string, unknown> {
  const [columnPixelSpacing, rowPixelSpacing, distance] = grid.spacing
  return {
    frameOfReferenceUID: grid.frameOfReference,
    rows: grid.rows,
    columns: grid.columns,
    imageOrientationPatient: [...grid.right, ...grid.down],
    rowCosines: [...grid.right],
    columnCosines: [...grid.down],
    imagePositionPatient: grid.origin.map((part, axis) => part + slice * distance * grid.through[axis]!),
    pixelSpacing: [rowPixelSpacing, columnPixelSpacing],
    rowPixelSpacing,
    columnPixelSpacing
  }
}

function near(one: number, other: number): boolean {
  return Math.abs(one - other) < 1e-4
}

export interface Volume {
  readonly grid: Grid
  /** Values after the modality LUT: slice by slice, row by row. */
  readonly values: Int16Array | Float32Array
  readonly window: Window
  readonly isInverse: boolean
}

/** Loads every frame, whole. `progress` is told how many have come. */
export async function loadVolume(
  set: DisplaySet,
  source: ImageSource,
  decoders: Decoders,
  progress: (done: number) => void,
  signal: AbortSignal
): Promise<Volume> {
  const grid = gridOf(set)
  const plane = grid.rows * grid.columns
  const isWhole = set.frames.every(({ instance, frame }) => hasWholeValues(instance.attributes.over(...frameAttributes(instance, frame).layers)))
  const size = plane * grid.slices * (isWhole ? 2 : 4)
  if (size > MOST_BYTES) throw new NotAVolume('The series is too large for the memory of a page.')
  const values = isWhole ? new Int16Array(plane * grid.slices) : new Float32Array(plane * grid.slices)
  let done = 0
  const place = (index: number, decoded: DecodedFrame): void => {
    const { instance, frame } = set.frames[index]!
    const attributes = frameAttributes(instance, frame)
    const image = describeImage(attributes)
    if (decoded.data.length !== plane) throw new Error(`Image ${index + 1} has another size than it says.`)
    const transform = modalityTransform(attributes)
    const known = new Map<number, number>()
    const start = (grid.isReversed ? grid.slices - 1 - index : index) * plane
    for (let i = 0; i < plane; i++) {
      const stored = decoded.data[i]!
      let value = known.get(stored)
      if (value === undefined) {
        value = applyModality(transform, image.isFloat ? stored : withoutOtherBits(stored, image))
        known.set(stored, value)
      }
      values[start + i] = value
    }
    progress(++done)
  }
  const here = new Map<string, number>()
  const there: number[] = []
  set.frames.forEach(({ instance, frame }, index) => {
    if (isDecodedHere(instance)) here.set(instance.frames[frame]!.ID, index)
    else there.push(index)
  })
  const decoding: Promise<void>[] = []
  if (here.size > 0) {
    for await (const { record, body } of source.frames(set.series.origin, { ids: [...here.keys()] }, signal)) {
      if (record.kind === 'error') throw new Error(record.message)
      if (record.kind !== 'frame') continue
      const index = here.get(record.id)
      if (index === undefined) continue
      here.delete(record.id)
      const { instance, frame } = set.frames[index]!
      const decoded = decodeStored(instance, frame, { bytes: body, reduce: 0, urgency: () => (signal.aborted ? Infinity : index) }, decoders)
      decoding.push(decoded.then((found) => place(index, found)))
      // Failures are seen at once, and not only when all have come.
      if (decoding.length % 32 === 0) await Promise.all(decoding.splice(0))
    }
  }
  await Promise.all(decoding)
  if (here.size > 0) throw new Error('The server did not send all images.')
  for (const index of there) {
    const { instance, frame } = set.frames[index]!
    place(index, await decodedByServer(instance, frame, source, signal))
  }
  const { instance, frame } = set.frames[Math.floor(set.frames.length / 2)]!
  const attributes = frameAttributes(instance, frame)
  const voi = fileVois(attributes).find(({ voi: one }) => one.kind === 'window')?.voi
  return {
    grid,
    values,
    window: voi?.kind === 'window' ? voi.window : spanning(...range(values)),
    isInverse: isInverse(describeImage(attributes), false)
  }
}

type FrameValues = Parameters<typeof modalityTransform>[0]

/** Whether values after the modality LUT are whole numbers that 16 bits hold with their sign. */
function hasWholeValues(attributes: FrameValues): boolean {
  const image = describeImage(attributes)
  if (image.isFloat || attributes.has('ModalityLUTSequence')) return false
  const slope = attributes.number('RescaleSlope') ?? 1
  const intercept = attributes.number('RescaleIntercept') ?? 0
  if (!Number.isInteger(slope) || !Number.isInteger(intercept) || slope < 1) return false
  const [low, high] = image.signed ? [-(2 ** (image.bitsStored - 1)), 2 ** (image.bitsStored - 1) - 1] : [0, 2 ** image.bitsStored - 1]
  return low * slope + intercept >= -32768 && high * slope + intercept <= 32767
}

function range(values: Int16Array | Float32Array): [number, number] {
  let [low, high] = [Infinity, -Infinity]
  for (const value of values) {
    if (value < low) low = value
    if (value > high) high = value
  }
  return low <= high ? [low, high] : [0, 1]
}
