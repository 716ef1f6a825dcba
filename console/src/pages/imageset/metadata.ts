// The native metadata document of an image set, read for showing: its levels, its instances one by one, and a search.

import { type Dictionary, type Level, shownTag, tagDigits } from '../../dicom/dictionary'
import { isSequence, textOf } from '../../dicom/values'

export type Block = Record<string, unknown>
export type Vrs = Readonly<Record<string, string>>

export interface Frame {
  ID: string
  PixelDataChecksumFromBaseToFullResolution?: { Width: number; Height: number; Checksum: number }[]
  MinPixelValue: number | null
  MaxPixelValue: number | null
  FrameSizeInBytes: number
}

export interface InstanceDocument {
  DICOM: Block
  DICOMVRs?: Record<string, string>
  StoredTransferSyntaxUID?: string
  ImageFrames?: Frame[]
}

export interface MetadataDocument {
  Patient: { DICOM: Block }
  Study: { DICOM: Block; Series: Record<string, { DICOM: Block; Instances: Record<string, InstanceDocument> }> }
}

export interface InstanceSummary {
  uid: string
  number: string
  elements: number
  frames: number
}

/** What is known of a document before any instance is opened. */
export interface Outline {
  patient: Block
  study: Block
  series: Block
  seriesUid: string
  instances: InstanceSummary[]
}

export function outlineOf(document: MetadataDocument): Outline {
  const [seriesUid, series] = Object.entries(document.Study.Series)[0] ?? ['', { DICOM: {}, Instances: {} }]
  return {
    patient: document.Patient.DICOM,
    study: document.Study.DICOM,
    series: series.DICOM,
    seriesUid,
    instances: Object.entries(series.Instances).map(([uid, each]) => ({
      uid,
      number: textOf(each.DICOM['InstanceNumber']).trim(),
      elements: Object.keys(each.DICOM).length,
      frames: each.ImageFrames?.length ?? 0
    }))
  }
}

export function instanceOf(document: MetadataDocument, uid: string): InstanceDocument | undefined {
  return Object.values(document.Study.Series)[0]?.Instances[uid]
}

/** Keys in the order of their tags, those without one last. */
export function sortedKeys(block: Block, dictionary: Dictionary, vrs?: Vrs): string[] {
  const tag = (key: string) => dictionary.of(key, vrs).tag || 'G'
  return Object.keys(block).sort((one, other) => (tag(one) < tag(other) ? -1 : tag(one) > tag(other) ? 1 : 0))
}

/** An element that matches; at the instance level all those of the same place and value are one hit. */
export interface Hit {
  level: Level
  /** SOPInstanceUID of the first, at the instance level. */
  instance: string | null
  number: string
  /** In how many instances it is the same, and the numbers of the first of them. */
  instances: number
  numbers: number[]
  /** Keys and places of items that lead to the element: `['ProcedureCodeSequence', 0, 'CodeValue']`. */
  path: (string | number)[]
  tag: string
  vr: string
  value: string
}

export interface Found {
  hits: Hit[]
  /** How many elements match, and in how many instances. */
  count: number
  instances: number
  /** Whether there are more than `hits`. */
  isCut: boolean
}

const MOST_HITS = 1000
const MOST_NUMBERS = 5000
const LONGEST = 400

/** Elements whose keyword, tag or value contains `text`; letters in either case. */
export function search(document: MetadataDocument, dictionary: Dictionary, text: string): Found {
  const wanted = text.trim().toLowerCase()
  const found: Found = { hits: [], count: 0, instances: 0, isCut: false }
  if (wanted === '') return found
  const digits = tagDigits(wanted)
  const tags = new Map<string, { tag: string; vr: string; matches: boolean }>()
  const known = (key: string, vrs?: Vrs) => {
    let entry = tags.get(key)
    if (entry === undefined) {
      const attribute = dictionary.of(key)
      const matches = key.toLowerCase().includes(wanted) || (digits !== null && attribute.tag.startsWith(digits))
      entry = { tag: attribute.tag, vr: attribute.vr, matches }
      tags.set(key, entry)
    }
    const vr = vrs?.[key]
    return vr === undefined ? entry : { ...entry, vr }
  }
  const ofInstances = new Map<string, Hit>()
  const add = (hit: Omit<Hit, 'instances' | 'numbers'>) => {
    found.count++
    const id = hit.instance === null ? null : `${hit.path.join('/')}\n${hit.value}`
    const same = id === null ? undefined : ofInstances.get(id)
    const number = /^\d+$/.test(hit.number) ? Number(hit.number) : null
    if (same !== undefined) {
      same.instances++
      if (number !== null && same.numbers.length < MOST_NUMBERS) same.numbers.push(number)
    } else if (found.hits.length < MOST_HITS) {
      const first = { ...hit, instances: hit.instance === null ? 0 : 1, numbers: number === null ? [] : [number] }
      found.hits.push(first)
      if (id !== null) ofInstances.set(id, first)
    } else found.isCut = true
  }
  const walk = (block: Block, level: Level, instance: string | null, number: string, vrs: Vrs | undefined, path: (string | number)[]) => {
    for (const key of Object.keys(block)) {
      const value = block[key]
      const entry = known(key, vrs)
      const nested = isSequence(value)
      if (entry.matches || (!nested && textOf(value).toLowerCase().includes(wanted))) {
        add({ level, instance, number, path: [...path, key], tag: entry.tag, vr: entry.vr, value: textOf(value).slice(0, LONGEST) })
      }
      if (nested) value.forEach((item, index) => walk(item, level, instance, number, vrs, [...path, key, index]))
    }
  }
  walk(document.Patient.DICOM, 'Patient', null, '', undefined, [])
  walk(document.Study.DICOM, 'Study', null, '', undefined, [])
  for (const series of Object.values(document.Study.Series)) {
    walk(series.DICOM, 'Series', null, '', undefined, [])
    for (const [uid, instance] of Object.entries(series.Instances)) {
      const before = found.count
      const number = textOf(instance.DICOM['InstanceNumber']).trim()
      walk(instance.DICOM, 'Instance', uid, number, instance.DICOMVRs, [])
      if (found.count > before) found.instances++
    }
  }
  return found
}

/** `ProcedureCodeSequence › item 1 › CodeValue`. */
export function shownPath(path: readonly (string | number)[]): string {
  return path.map((part) => (typeof part === 'number' ? `item ${part + 1}` : shownKey(part))).join(' › ')
}

/** A keyword as it is, digits as a tag. */
export function shownKey(key: string): string {
  return /^[0-9A-F]{8}$/.test(key) ? shownTag(key) : key
}

export type Row =
  | { kind: 'level'; id: string; depth: 0; level: Level; label: string; count: number; isOpen: boolean }
  | { kind: 'instance'; id: string; depth: 1; instance: InstanceSummary; isOpen: boolean; isLoading: boolean }
  | { kind: 'element'; id: string; depth: number; at: Place; key: string; tag: string; vr: string; value: unknown; isOpen: boolean | null }
  | { kind: 'item'; id: string; depth: number; index: number; count: number; isOpen: boolean }
  | { kind: 'frames'; id: string; depth: number; count: number; isOpen: boolean }
  | { kind: 'frame'; id: string; depth: number; index: number; frame: Frame }

/** Where an element stands. */
export interface Place {
  level: Level
  instance: string | null
  path: (string | number)[]
}

/** Which rows are open: `closed` and `open` hold the ids of those that are not as they begin. */
export interface Tree {
  outline: Outline
  opened: ReadonlyMap<string, InstanceDocument>
  toggled: ReadonlySet<string>
}

/** The rows of the tree as it is open now. Levels and items begin open, sequences and instances closed. */
export function rowsOf({ outline, opened, toggled }: Tree, dictionary: Dictionary): Row[] {
  const rows: Row[] = []
  const elements = (block: Block, vrs: Vrs | undefined, at: Place, depth: number) => {
    for (const key of sortedKeys(block, dictionary, vrs)) {
      const attribute = dictionary.of(key, vrs)
      const value = block[key]
      const place = { ...at, path: [...at.path, key] }
      const id = idOf(place)
      const nested = isSequence(value)
      const isOpen = nested ? toggled.has(id) : null
      rows.push({ kind: 'element', id, depth, at: place, key, tag: attribute.tag, vr: attribute.vr, value, isOpen })
      if (!isOpen || !nested) continue
      value.forEach((item, index) => {
        const inside = { ...place, path: [...place.path, index] }
        const itemId = idOf(inside)
        const isItemOpen = value.length <= 8 ? !toggled.has(itemId) : toggled.has(itemId)
        rows.push({ kind: 'item', id: itemId, depth: depth + 1, index, count: Object.keys(item).length, isOpen: isItemOpen })
        if (isItemOpen) elements(item, vrs, inside, depth + 2)
      })
    }
  }
  for (const [level, block] of [['Patient', outline.patient], ['Study', outline.study], ['Series', outline.series]] as const) {
    const isOpen = !toggled.has(level)
    rows.push({ kind: 'level', id: level, depth: 0, level, label: level, count: Object.keys(block).length, isOpen })
    if (isOpen) elements(block, undefined, { level, instance: null, path: [] }, 1)
  }
  const isOpen = !toggled.has('Instance')
  rows.push({ kind: 'level', id: 'Instance', depth: 0, level: 'Instance', label: 'Instances', count: outline.instances.length, isOpen })
  if (!isOpen) return rows
  for (const instance of outline.instances) {
    const id = `i:${instance.uid}`
    const document = opened.get(instance.uid)
    const isInstanceOpen = toggled.has(id)
    rows.push({ kind: 'instance', id, depth: 1, instance, isOpen: isInstanceOpen, isLoading: isInstanceOpen && document === undefined })
    if (!isInstanceOpen || document === undefined) continue
    elements(document.DICOM, document.DICOMVRs, { level: 'Instance', instance: instance.uid, path: [] }, 2)
    const frames = document.ImageFrames ?? []
    if (frames.length === 0) continue
    const framesId = `f:${instance.uid}`
    const areFramesOpen = toggled.has(framesId)
    rows.push({ kind: 'frames', id: framesId, depth: 2, count: frames.length, isOpen: areFramesOpen })
    if (areFramesOpen) frames.forEach((frame, index) => rows.push({ kind: 'frame', id: `f:${instance.uid}:${index}`, depth: 3, index, frame }))
  }
  return rows
}

/** What has to be open for an element to be seen: the ids to toggle, given how rows begin. */
export function idsAbove(at: Place, items: (path: readonly (string | number)[]) => number): string[] {
  const ids: string[] = []
  if (at.instance !== null) ids.push(`i:${at.instance}`)
  for (let length = 1; length < at.path.length; length++) {
    const path = at.path.slice(0, length)
    if (typeof path[length - 1] === 'number') {
      if (items(path.slice(0, -1)) > 8) ids.push(idOf({ ...at, path }))
    } else ids.push(idOf({ ...at, path }))
  }
  return ids
}

export function idOf(at: Place): string {
  return `${at.level}:${at.instance ?? ''}:${at.path.join('/')}`
}

/** The value at a path, undefined where there is none. */
export function valueAt(block: Block, path: readonly (string | number)[]): unknown {
  let here: unknown = block
  for (const part of path) {
    if (typeof here !== 'object' || here === null) return undefined
    here = (here as Record<string | number, unknown>)[part]
  }
  return here
}
