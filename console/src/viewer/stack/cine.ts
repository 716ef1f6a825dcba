// How fast a loop plays (PS3.3 C.7.6.5).

import type { Attributes } from '../model/attributes'

export interface CineRate {
  readonly fps: number
  /** Whether the file says so. */
  readonly isFromFile: boolean
}

export const LEAST_FPS = 1
export const MOST_FPS = 60

export function cineRate(attributes: Attributes): CineRate {
  const from = (fps: number | undefined): CineRate | undefined =>
    fps !== undefined && fps > 0 ? { fps: Math.min(MOST_FPS, Math.max(LEAST_FPS, fps)), isFromFile: true } : undefined
  const time = attributes.number('FrameTime')
  const steps = attributes.numbers('FrameTimeVector').slice(1).filter((one) => one > 0)
  const mean = steps.length > 0 ? steps.reduce((sum, one) => sum + one, 0) / steps.length : undefined
  return (
    from(attributes.number('RecommendedDisplayFrameRate')) ??
    from(attributes.number('CineRate')) ??
    from(time !== undefined && time > 0 ? 1000 / time : undefined) ??
    from(mean === undefined ? undefined : 1000 / mean) ?? { fps: 10, isFromFile: false }
  )
}
