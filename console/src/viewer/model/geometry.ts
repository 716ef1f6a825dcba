// Where an image lies in the patient (PS3.3 C.7.6.2), and the letters at its edges.

import type { Attributes } from './attributes'

export type Vector = readonly [number, number, number]

export interface Plane {
  readonly position: Vector
  /** Unit vector along a row, to the right of the image. */
  readonly right: Vector
  /** Unit vector along a column, to the bottom of the image. */
  readonly down: Vector
  readonly normal: Vector
  readonly rowSpacing: number
  readonly columnSpacing: number
  readonly rows: number
  readonly columns: number
  readonly frameOfReference: string
}

/** The plane of a frame; undefined where the file does not say, or says what is no plane. */
export function planeOf(attributes: Attributes): Plane | undefined {
  const axes = orientationOf(attributes)
  const position = attributes.numbers('ImagePositionPatient')
  const [rowSpacing = NaN, columnSpacing = NaN] = attributes.numbers('PixelSpacing')
  if (!axes || position.length !== 3 || !position.every(Number.isFinite)) return undefined
  if (!(rowSpacing > 0) || !(columnSpacing > 0)) return undefined
  return {
    position: position as unknown as Vector,
    right: axes.right,
    down: axes.down,
    normal: cross(axes.right, axes.down),
    rowSpacing,
    columnSpacing,
    rows: attributes.number('Rows') ?? 0,
    columns: attributes.number('Columns') ?? 0,
    frameOfReference: attributes.text('FrameOfReferenceUID')
  }
}

export function orientationOf(attributes: Attributes): { right: Vector; down: Vector } | undefined {
  const cosines = attributes.numbers('ImageOrientationPatient')
  if (cosines.length !== 6 || !cosines.every(Number.isFinite)) return undefined
  const right = cosines.slice(0, 3) as unknown as Vector
  const down = cosines.slice(3) as unknown as Vector
  const near = (value: number, expected: number): boolean => Math.abs(value - expected) < 0.02
  if (!near(dot(right, right), 1) || !near(dot(down, down), 1) || !near(dot(right, down), 0)) return undefined
  return { right, down }
}

/** Letters at the edges of the screen: left, right, top, bottom. Empty where the orientation is unknown. */
export interface Marks {
  readonly left: string
  readonly right: string
  readonly top: string
  readonly bottom: string
}

export const NO_MARKS: Marks = { left: '', right: '', top: '', bottom: '' }

const SMALL = Math.sin((5 * Math.PI) / 180)

/** The direction in which a vector points, the greatest part first: "L", "PH", … (PS3.3 C.7.6.1.1.1). */
export function letters(direction: Vector): string {
  const named: [number, string][] = [
    [direction[0], direction[0] > 0 ? 'L' : 'R'],
    [direction[1], direction[1] > 0 ? 'P' : 'A'],
    [direction[2], direction[2] > 0 ? 'H' : 'F']
  ]
  return named
    .filter(([part]) => Math.abs(part) > SMALL)
    .sort(([one], [other]) => Math.abs(other) - Math.abs(one))
    .map(([, letter]) => letter)
    .join('')
}

/** How an image is turned on the screen: the columns are where its right and its bottom point, as unit vectors. */
export interface Turn {
  readonly rightX: number
  readonly rightY: number
  readonly downX: number
  readonly downY: number
}

export const UPRIGHT: Turn = { rightX: 1, rightY: 0, downX: 0, downY: 1 }

/** The marks of an image that is shown in that turn. */
export function marksOf(attributes: Attributes, turn: Turn): Marks {
  if (attributes.text('AnatomicalOrientationType') === 'QUADRUPED') return NO_MARKS
  const axes = orientationOf(attributes)
  if (axes) {
    // What points to the right of the screen: the turn is orthogonal, so its inverse is its transpose.
    const toRight = combine(axes.right, turn.rightX, axes.down, turn.downX)
    const toBottom = combine(axes.right, turn.rightY, axes.down, turn.downY)
    return {
      right: letters(toRight),
      left: letters(scale(toRight, -1)),
      bottom: letters(toBottom),
      top: letters(scale(toBottom, -1))
    }
  }
  const [right = '', bottom = ''] = attributes.texts('PatientOrientation').map((one) => one.trim().toUpperCase())
  if (!/^[LRAPHF]{0,3}$/.test(right) || !/^[LRAPHF]{0,3}$/.test(bottom)) return NO_MARKS
  const quarter = [turn.rightX, turn.rightY, turn.downX, turn.downY].every((one) => Math.abs(one - Math.round(one)) < 1e-6)
  if (!quarter || (!right && !bottom)) return NO_MARKS
  const along = (x: number, y: number): string =>
    x > 0.5 ? right : x < -0.5 ? opposite(right) : y > 0.5 ? bottom : opposite(bottom)
  return {
    right: along(turn.rightX, turn.downX),
    left: along(-turn.rightX, -turn.downX),
    bottom: along(turn.rightY, turn.downY),
    top: along(-turn.rightY, -turn.downY)
  }
}

const OPPOSITE: Record<string, string> = { L: 'R', R: 'L', A: 'P', P: 'A', H: 'F', F: 'H' }

function opposite(mark: string): string {
  return [...mark].map((letter) => OPPOSITE[letter] ?? '').join('')
}

/** The line in which a plane crosses an image, in pixels of the image; undefined where it does not. */
export function crossing(image: Plane, other: Plane): { x1: number; y1: number; x2: number; y2: number } | undefined {
  if (!image.frameOfReference || image.frameOfReference !== other.frameOfReference) return undefined
  if (Math.abs(dot(image.normal, other.normal)) > 0.98) return undefined
  // The edges of the other image, cut with this plane.
  const across = scale(other.right, other.columns * other.columnSpacing)
  const down = scale(other.down, other.rows * other.rowSpacing)
  const first = add(other.position, add(scale(other.right, -other.columnSpacing / 2), scale(other.down, -other.rowSpacing / 2)))
  const corners = [first, add(first, across), add(add(first, across), down), add(first, down)]
  const distances = corners.map((corner) => dot(subtract(corner, image.position), image.normal))
  const points: Vector[] = []
  for (let i = 0; i < 4; i++) {
    const [a, b] = [distances[i]!, distances[(i + 1) % 4]!]
    if (a === b || a * b > 0) continue
    const t = a / (a - b)
    points.push(add(corners[i]!, scale(subtract(corners[(i + 1) % 4]!, corners[i]!), t)))
  }
  if (points.length < 2) return undefined
  const [start, end] = [points[0]!, points[1]!].map((point) => {
    const from = subtract(point, image.position)
    return { x: dot(from, image.right) / image.columnSpacing + 0.5, y: dot(from, image.down) / image.rowSpacing + 0.5 }
  })
  return { x1: start!.x, y1: start!.y, x2: end!.x, y2: end!.y }
}

/** The middle of the image. */
export function centreOf({ position, right, down, rowSpacing, columnSpacing, rows, columns }: Plane): Vector {
  return add(position, combine(right, ((columns - 1) / 2) * columnSpacing, down, ((rows - 1) / 2) * rowSpacing))
}

export function dot(a: Vector, b: Vector): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

export function cross(a: Vector, b: Vector): Vector {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

export function subtract(a: Vector, b: Vector): Vector {
  return [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

function add(a: Vector, b: Vector): Vector {
  return [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

function scale(a: Vector, by: number): Vector {
  return [a[0] * by, a[1] * by, a[2] * by]
}

function combine(a: Vector, s: number, b: Vector, t: number): Vector {
  return add(scale(a, s), scale(b, t))
}
