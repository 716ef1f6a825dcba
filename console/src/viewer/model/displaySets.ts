// What a viewport can hold: the images of a series in order, one multi-frame instance, one document.

import type { Instance, Series } from './document'
import { dot, planeOf } from './geometry'
import { frameAttributes } from './frameAttributes'
import { describeImage, NotAnImage } from './image'
import { isSlideLevel } from '../slides/pyramid'

/** One frame of one instance; `frame` counts from 0. */
export interface FrameReference {
  readonly instance: Instance
  readonly frame: number
}

export interface DisplaySet {
  /** Unique in a study. */
  readonly id: string
  readonly series: Series
  readonly kind: 'stack' | 'multiframe' | 'slide' | 'volume' | 'other'
  readonly sopClass: string
  readonly instances: readonly Instance[]
  /** Images in the order in which they are scrolled; empty for what is no image. */
  readonly frames: readonly FrameReference[]
}

/** Images of a series are one stack, in the order of their positions if they have such, else of their numbers. */
export function displaySetsOf(series: Series): DisplaySet[] {
  const singles: Instance[] = []
  const sets: DisplaySet[] = []
  const others = new Map<string, Instance[]>()
  const levels: Instance[] = []
  for (const instance of inNumberOrder(series.instances)) {
    if (isSlideLevel(instance) && isImage(instance)) levels.push(instance)
    else if (instance.frames.length === 0 || !isImage(instance)) {
      others.set(instance.sopClass, [...(others.get(instance.sopClass) ?? []), instance])
    } else if (instance.frames.length === 1) singles.push(instance)
    else {
      const frames = instance.frames.map((_, frame) => ({ instance, frame }))
      sets.push(made(series, 'multiframe', [instance], frames, instance.uid))
    }
  }
  if (singles.length > 0) {
    const ordered = inPositionOrder(singles) ?? singles
    const frames = ordered.map((instance) => ({ instance, frame: 0 }))
    sets.unshift(made(series, 'stack', ordered, frames, 'stack'))
  }
  if (levels.length > 0) {
    // The smallest level stands for the slide where a picture of it is needed.
    const [smallest] = [...levels].sort((a, b) => columnsOf(a) - columnsOf(b))
    const frames = smallest!.frames.map((_, frame) => ({ instance: smallest!, frame }))
    sets.push(made(series, 'slide', levels, frames, 'slide'))
  }
  for (const [sopClass, instances] of others) sets.push(made(series, 'other', instances, [], sopClass))
  return sets
}

function made(
  series: Series,
  kind: DisplaySet['kind'],
  instances: readonly Instance[],
  frames: readonly FrameReference[],
  name: string
): DisplaySet {
  const id = `${series.origin.imageSetId}/${series.uid}/${name}`
  return { id, series, kind, sopClass: instances[0]?.sopClass ?? '', instances, frames }
}

function columnsOf(level: Instance): number {
  return level.attributes.number('TotalPixelMatrixColumns') ?? 0
}

function isImage(instance: Instance): boolean {
  try {
    describeImage(instance.attributes)
    return true
  } catch (error) {
    if (error instanceof NotAnImage) return false
    throw error
  }
}

function inNumberOrder(instances: readonly Instance[]): Instance[] {
  const key = (instance: Instance): number => instance.attributes.number('InstanceNumber') ?? Infinity
  return [...instances].sort((a, b) => compare(key(a), key(b)) || (a.uid < b.uid ? -1 : a.uid > b.uid ? 1 : 0))
}

/**
 * Parallel images at positions of their own, along their normal; undefined if they are anything else. They begin at
 * the end at which the lower instance numbers are.
 */
function inPositionOrder(instances: readonly Instance[]): Instance[] | undefined {
  if (instances.length < 3) return undefined
  const planes = instances.map((instance) => planeOf(frameAttributes(instance, 0)))
  const first = planes[0]
  if (!first) return undefined
  const places: { instance: Instance; at: number }[] = []
  for (const [i, plane] of planes.entries()) {
    if (!plane || plane.frameOfReference !== first.frameOfReference) return undefined
    if (dot(plane.right, first.right) < 0.999 || dot(plane.down, first.down) < 0.999) return undefined
    places.push({ instance: instances[i]!, at: dot(plane.position, first.normal) })
  }
  const up = [...places].sort((a, b) => a.at - b.at)
  for (let i = 1; i < up.length; i++) if (up[i]!.at - up[i - 1]!.at < 1e-3) return undefined
  // How positions go with numbers: the sign of their covariance.
  const middle = (places.length - 1) / 2
  const mean = places.reduce((sum, place) => sum + place.at, 0) / places.length
  const covariance = places.reduce((sum, place, i) => sum + (i - middle) * (place.at - mean), 0)
  return (covariance < 0 ? up.reverse() : up).map((place) => place.instance)
}

function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0
}
