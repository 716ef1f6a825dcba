// The values that a stack spans, by what the server noted of each frame.

import type { FrameReference } from '../model/displaySets'
import type { Attributes } from '../model/attributes'
import { frameAttributes } from '../model/frameAttributes'
import { imageOf } from '../model/image'
import { applyModality, modalityTransform, paddingOf } from '../pixels/greyscale'

/**
 * From the least to the greatest value of all frames, each by its own modality transform: slices of PET have slopes of their
 * own. Undefined where a frame's values are not known without its samples, as among padding.
 */
export function rangeOfFrames(frames: readonly FrameReference[]): [low: number, high: number] | undefined {
  let [low, high] = [Infinity, -Infinity]
  for (const reference of frames) {
    const attributes = frameAttributes(reference.instance, reference.frame)
    const stored = storedEnds(reference, attributes)
    if (!stored) return undefined
    try {
      const modality = modalityTransform(attributes)
      // Entries of a table need not rise.
      if (modality.kind === 'table') return undefined
      const ends = stored.map((value) => applyModality(modality, value))
      ;[low, high] = [Math.min(low, ...ends), Math.max(high, ...ends)]
    } catch {
      // It cannot be shown, and will say so.
    }
  }
  return Number.isFinite(low) && Number.isFinite(high) && high > low ? [low, high] : undefined
}

function storedEnds({ instance, frame }: FrameReference, attributes: Attributes): [number, number] | undefined {
  const image = imageOf(instance)
  if (image.bitsAllocated === 8 && !image.signed) return [0, (1 << image.bitsStored) - 1]
  const { MinPixelValue: least, MaxPixelValue: most } = instance.frames[frame]!
  if (least == null || most == null || !instance.hasSampleChecksums) return undefined
  const padding = paddingOf(attributes)
  return padding && padding[1] >= least && padding[0] <= most ? undefined : [least, most]
}
