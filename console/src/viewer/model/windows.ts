// VOI transformations of an image: those of the file, and presets of the modality (PS3.3 C.11.2).

import { type Attributes, attributesOf } from './attributes'
import { type LookupTable, lookupTable } from './lookupTable'

export type VoiFunction = 'LINEAR' | 'LINEAR_EXACT' | 'SIGMOID'

export interface Window {
  readonly center: number
  readonly width: number
  readonly function: VoiFunction
}

export type Voi = { readonly kind: 'window'; readonly window: Window } | { readonly kind: 'table'; readonly table: LookupTable }

export interface Preset {
  readonly name: string
  readonly voi: Voi
}

const known = new WeakMap<Attributes, readonly Preset[]>()

/** The tables and windows that the file offers, in its order: tables first, as the server renders them. */
export function fileVois(attributes: Attributes): readonly Preset[] {
  let found = known.get(attributes)
  if (!found) known.set(attributes, (found = readVois(attributes)))
  return found
}

function readVois(attributes: Attributes): Preset[] {
  const tables = attributes.items('VOILUTSequence').flatMap((item, i): Preset[] => {
    const table = lookupTable(attributesOf(item))
    const name = attributesOf(item).text('LUTExplanation') || `VOI LUT ${i + 1}`
    return table ? [{ name, voi: { kind: 'table', table } }] : []
  })
  const centers = attributes.numbers('WindowCenter')
  const widths = attributes.numbers('WindowWidth')
  const names = attributes.texts('WindowCenterWidthExplanation')
  const voiFunction = functionOf(attributes)
  const windows = centers.flatMap((center, i): Preset[] => {
    const width = widths[i]
    if (!voiFunction || width === undefined || !isValid({ center, width, function: voiFunction })) return []
    return [{ name: names[i]?.trim() ?? '', voi: { kind: 'window', window: { center, width, function: voiFunction } } }]
  })
  const different = unique(windows)
  const named = different.map((preset, i) => ({ ...preset, name: preset.name || (different.length > 1 ? `File window ${i + 1}` : 'File window') }))
  return [...tables, ...named]
}

/** Undefined for a function that this viewer does not know: then its windows are not applied at all. */
function functionOf(attributes: Attributes): VoiFunction | undefined {
  const name = attributes.text('VOILUTFunction').toUpperCase() || 'LINEAR'
  return name === 'LINEAR' || name === 'LINEAR_EXACT' || name === 'SIGMOID' ? name : undefined
}

/** PS3.3 C.11.2.1.2: the width of LINEAR is at least 1, that of the others greater than 0. */
export function isValid(window: Window): boolean {
  if (!Number.isFinite(window.center) || !Number.isFinite(window.width)) return false
  return window.function === 'LINEAR' ? window.width >= 1 : window.width > 0
}

function unique(presets: Preset[]): Preset[] {
  const seen = new Set<string>()
  return presets.filter(({ voi }) => {
    const key = voi.kind === 'window' ? `${voi.window.center}/${voi.window.width}` : ''
    return !seen.has(key) && seen.add(key)
  })
}

const CT: readonly (readonly [string, number, number])[] = [
  ['Brain', 40, 80],
  ['Subdural', 75, 215],
  ['Stroke', 35, 40],
  ['Soft tissue', 50, 400],
  ['Mediastinum', 50, 350],
  ['Lung', -600, 1500],
  ['Bone', 480, 2500],
  ['Liver', 90, 150],
  ['Angiography', 300, 600]
]

/** Windows in Hounsfield units; other modalities have no common scale. */
export function modalityPresets(attributes: Attributes): Preset[] {
  if (attributes.text('Modality') !== 'CT') return []
  const units = attributes.text('RescaleType').toUpperCase()
  if (units !== '' && units !== 'HU') return []
  if (!attributes.has('RescaleIntercept') && units !== 'HU') return []
  return CT.map(([name, center, width]) => ({ name, voi: { kind: 'window', window: { center, width, function: 'LINEAR' } } }))
}

/** With three digits of the width, whatever its size: parametric maps have windows of thousandths. */
export function windowNumbers({ width, center }: Window): string {
  const size = width >= 100 ? 0 : width > 0 ? Math.min(12, 2 - Math.floor(Math.log10(width))) : 2
  const plain = (value: number): string => String(Number(value.toFixed(size)))
  return `W ${plain(width)} L ${plain(center)}`
}

/** A window that spans `low` to `high`. */
export function spanning(low: number, high: number): Window {
  const width = Math.max(high - low, 1e-6)
  return { center: (low + high) / 2, width, function: 'LINEAR_EXACT' }
}

/** The window after a drag: to the right wider, down darker to brighter as DICOM viewers do. */
export function dragged(window: Window, dx: number, dy: number): Window {
  const step = Math.max(window.width, 1e-6) / 300
  const least = window.function === 'LINEAR' ? 1 : 1e-6
  return { ...window, center: window.center + dy * step, width: Math.max(least, window.width * Math.exp(dx / 300)) }
}
