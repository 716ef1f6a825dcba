// What the planes say of the images that they are cut through: all of them, since every plane takes from every slice.

import type { DisplaySet } from '../model/displaySets'
import { lossy } from '../stack/Overlay'

/** Four-legged patients have other axes, which letters for people would misname. */
export function isQuadruped(set: DisplaySet): boolean {
  return set.instances.some(({ attributes }) => attributes.text('AnatomicalOrientationType') === 'QUADRUPED')
}

/** A version that is not the latest is told by the viewport. */
export function flagsOf(set: DisplaySet, nonPrimary: ReadonlySet<string>): string[] {
  const isPrimary = !set.instances.some(({ origin }) => nonPrimary.has(origin.imageSetId))
  return [isPrimary ? '' : 'Not primary', lossyOf(set)].filter(Boolean)
}

/** The ratio only where it is that of every slice. */
function lossyOf(set: DisplaySet): string {
  const [said = '', ...others] = new Set(set.instances.map(({ attributes }) => lossy(attributes)))
  return others.length > 0 ? 'Lossy' : said
}
