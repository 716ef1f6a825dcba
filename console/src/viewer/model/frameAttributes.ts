// Attributes of one frame of an instance: functional groups over the data set (PS3.3 C.7.6.16).

import { Attributes, type Item, attributesOf } from './attributes'
import type { Instance } from './document'
import { cross, orientationOf } from './geometry'

const cached = new WeakMap<Instance, Map<number, Attributes>>()

/** `frame` counts from 0. Groups of the frame win over shared groups, those over the data set. */
export function frameAttributes(instance: Instance, frame: number): Attributes {
  const all = instance.attributes
  const shared = all.items('SharedFunctionalGroupsSequence')[0]
  const perFrame = all.items('PerFrameFunctionalGroupsSequence')
  // Elsewhere than in functional groups there is one position, which is that of the first frame.
  const isOfFirst = instance.frames.length > 1 && perFrame.length === 0 && all.has('ImagePositionPatient')
  if (!shared && perFrame.length === 0 && !isOfFirst) return all
  let frames = cached.get(instance)
  if (!frames) cached.set(instance, (frames = new Map()))
  let found = frames.get(frame)
  if (!found) {
    const own = perFrame[frame]
    const place = isOfFirst ? [{ ImagePositionPatient: gridPosition(all, frame) }] : []
    found = all.over(...macros(own), ...macros(shared), ...place)
    frames.set(frame, found)
  }
  return found
}

/** The position of a frame of RT Dose (PS3.3 C.8.8.3.2); none where the offsets do not say it. */
function gridPosition(attributes: Attributes, frame: number): number[] {
  const axes = orientationOf(attributes)
  const position = attributes.numbers('ImagePositionPatient')
  const offsets = attributes.numbers('GridFrameOffsetVector')
  const [first, offset] = [offsets[0], offsets[frame]]
  if (!axes || position.length !== 3 || first === undefined || offset === undefined) return []
  const normal = cross(axes.right, axes.down)
  if (first === 0) return position.map((part, i) => part + offset * normal[i]!)
  // The other form: places along z themselves, of transverse images.
  const isTransverse = Math.abs(normal[2]) > 0.9999
  return isTransverse && Math.abs(first - position[2]!) < 0.01 ? [position[0]!, position[1]!, offset] : []
}

/**
 * The items of the sequences of a functional group, one for each macro. Sequences without a keyword are of a vendor: what is in
 * them has names of the standard and may be something else, such as a window for values that were normalised.
 */
function macros(group: Item | undefined): Item[] {
  if (!group) return []
  const attributes = attributesOf(group)
  const keywords = Object.keys(group).filter((keyword) => !/^[0-9a-f]{8}$/i.test(keyword))
  return keywords.flatMap((keyword) => attributes.items(keyword).slice(0, 1))
}
