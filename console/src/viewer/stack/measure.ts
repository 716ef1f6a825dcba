// Lengths and angles, in the unit that the image has.

import type { Point } from '../model/camera'
import { type Region, type Spacing, spacingAt } from '../model/spacing'

export interface Measurement {
  readonly id: number
  readonly kind: 'length' | 'angle'
  /** In pixels of the image: two ends, or an end, the apex and the other end. */
  readonly points: readonly Point[]
}

export function pointsOf(kind: Measurement['kind']): number {
  return kind === 'length' ? 2 : 3
}

export interface Reading {
  readonly text: string
  /** What to know about the unit; empty for plain millimetres. */
  readonly note: string
}

export function read(measurement: Measurement, spacing: Spacing, regions: readonly Region[]): Reading {
  const { points, kind } = measurement
  const used = spacingAt(points, regions, spacing)
  if (kind === 'length') {
    const [from, to] = points as [Point, Point]
    const length = Math.hypot((to.x - from.x) * used.column, (to.y - from.y) * used.row)
    return { text: `${lengthText(length)} ${used.unit}`, note: used.note }
  }
  const [from, apex, to] = points as [Point, Point, Point]
  const one = [(from.x - apex.x) * used.column, (from.y - apex.y) * used.row] as const
  const other = [(to.x - apex.x) * used.column, (to.y - apex.y) * used.row] as const
  const cosine = (one[0] * other[0] + one[1] * other[1]) / (Math.hypot(...one) * Math.hypot(...other))
  const degrees = (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI
  // An angle of pixels is one in the patient only where they are square; over regions nobody knows that they are.
  const note = regions.length > 0 && used.unit === 'px' ? `in pixels: ${used.note}` : ''
  return { text: Number.isFinite(degrees) ? `${degrees.toFixed(1)}°` : '–', note }
}

function lengthText(length: number): string {
  return length >= 100 ? length.toFixed(0) : length.toFixed(1)
}
