// Attributes of one frame of an instance: functional groups over the data set (PS3.3 C.7.6.16).

import { Attributes, type Item, attributesOf } from './attributes'
import type { Instance } from './document'

const cached = new WeakMap<Instance, Map<number, Attributes>>()

/** `frame` counts from 0. Groups of the frame win over shared groups, those over the data set. */
export function frameAttributes(instance: Instance, frame: number): Attributes {
  const all = instance.attributes
  const shared = all.items('SharedFunctionalGroupsSequence')[0]
  const perFrame = all.items('PerFrameFunctionalGroupsSequence')
  if (!shared && perFrame.length === 0) return all
  let frames = cached.get(instance)
  if (!frames) cached.set(instance, (frames = new Map()))
  let found = frames.get(frame)
  if (!found) {
    const own = perFrame[frame]
    found = all.over(...macros(own), ...macros(shared))
    frames.set(frame, found)
  }
  return found
}

/** The items of the sequences of a functional group, one for each macro. */
function macros(group: Item | undefined): Item[] {
  if (!group) return []
  const attributes = attributesOf(group)
  return Object.keys(group).flatMap((keyword) => attributes.items(keyword).slice(0, 1))
}
