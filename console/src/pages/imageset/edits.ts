// Changes that a person has made but not applied, and the UpdateImageSetMetadata request that applies them.

import { type Dictionary, type Level, isPrivate } from '../../dicom/dictionary'
import { BINARY, stringify } from '../../dicom/values'

interface At {
  level: Level
  /** SOPInstanceUID, at the instance level. */
  instance: string | null
}

/** `old` is undefined where the attribute is not there yet. */
export interface SetValue extends At {
  action: 'set'
  key: string
  vr: string
  old: unknown
  value: unknown
}

export interface RemoveValue extends At {
  action: 'remove'
  key: string
  vr: string
  old: unknown
}

export interface RemoveInstance extends At {
  action: 'remove-instance'
  instance: string
  number: string
}

export type Edit = SetValue | RemoveValue | RemoveInstance

export function editId(edit: Edit): string {
  return `${edit.level}:${edit.instance ?? ''}:${edit.action === 'remove-instance' ? '' : edit.key}`
}

/** The edits with one more, which replaces an earlier one of the same attribute; one that changes nothing takes it back. */
export function withEdit(edits: readonly Edit[], edit: Edit): Edit[] {
  const id = editId(edit)
  const others = edits.filter((each) => editId(each) !== id && !(edit.action === 'remove-instance' && each.instance === edit.instance))
  if (edit.action === 'set' && edit.old !== undefined && stringify(edit.old) === stringify(edit.value)) return others
  if (edit.action === 'remove' && edit.old === undefined) return others
  return [...others, edit]
}

/** The edits on another version: with the values that are there now, without those that it has made already. */
export function rebased(edits: readonly Edit[], valueNow: (edit: SetValue | RemoveValue) => unknown, hasInstance: (uid: string) => boolean): Edit[] {
  let found: Edit[] = []
  for (const edit of edits) {
    if (edit.instance !== null && !hasInstance(edit.instance)) continue
    found = withEdit(found, edit.action === 'remove-instance' ? edit : { ...edit, old: valueNow(edit) })
  }
  return found
}

/** The text of a form, in which a browser has made all line ends LF, with those that the value had, or DICOM's (PS3.5 §6.1.3). */
export function withLineEnds(text: string, old: unknown): string {
  const plain = (some: string) => some.replace(/\r\n?/g, '\n')
  const before = typeof old === 'string' ? old : ''
  if (plain(before) === plain(text)) return before
  const [only, ...others] = new Set(before.match(/\r\n|\r|\n/g) ?? [])
  return plain(text).replace(/\n/g, only === undefined || others.length > 0 ? '\r\n' : only)
}

interface Excerpt {
  SchemaVersion: 1.1
  Patient?: { DICOM: Record<string, unknown> }
  Study?: { DICOM?: Record<string, unknown>; Series?: Record<string, SeriesExcerpt> }
}

interface SeriesExcerpt {
  DICOM?: Record<string, unknown>
  Instances?: Record<string, { DICOM?: Record<string, unknown>; DICOMVRs?: Record<string, string> }>
}

export interface Blobs {
  updatableAttributes?: string
  removableAttributes?: string
}

/** The two blobs as JSON text; on the wire they are in base64. */
export function blobsOf(edits: readonly Edit[], seriesUid: string): Blobs {
  const updatable: Excerpt = { SchemaVersion: 1.1 }
  const removable: Excerpt = { SchemaVersion: 1.1 }
  const found: Blobs = {}
  for (const edit of edits) {
    const blob = edit.action === 'set' ? updatable : removable
    if (edit.action === 'remove-instance') {
      const series = seriesOf(blob, seriesUid)
      series.Instances = { ...series.Instances, [edit.instance]: {} }
      continue
    }
    // A removal names the attribute with the value that it has.
    const value = edit.action === 'set' ? edit.value : edit.old
    put(blob, edit, seriesUid, value)
  }
  if (edits.some((edit) => edit.action === 'set')) found.updatableAttributes = stringify(updatable)
  if (edits.some((edit) => edit.action !== 'set')) found.removableAttributes = stringify(removable)
  return found
}

function put(blob: Excerpt, edit: SetValue | RemoveValue, seriesUid: string, value: unknown): void {
  if (edit.level === 'Patient') {
    blob.Patient = { DICOM: { ...blob.Patient?.DICOM, [edit.key]: value } }
  } else if (edit.level === 'Study') {
    blob.Study = { ...blob.Study, DICOM: { ...blob.Study?.DICOM, [edit.key]: value } }
  } else if (edit.level === 'Series') {
    const series = seriesOf(blob, seriesUid)
    series.DICOM = { ...series.DICOM, [edit.key]: value }
  } else {
    const instances = (seriesOf(blob, seriesUid).Instances ??= {})
    const instance = (instances[edit.instance ?? ''] ??= {})
    instance.DICOM = { ...instance.DICOM, [edit.key]: value }
    // Only what has no keyword is listed, with its VR.
    if (edit.action === 'set' && /^[0-9A-F]{8}$/.test(edit.key) && edit.vr !== '') instance.DICOMVRs = { ...instance.DICOMVRs, [edit.key]: edit.vr }
  }
}

function seriesOf(blob: Excerpt, seriesUid: string): SeriesExcerpt {
  const study = (blob.Study ??= {})
  const all = (study.Series ??= {})
  return (all[seriesUid] ??= {})
}

/** Changes of the study level of a primary set are made for all primary sets of the study. */
export function isStudyWide(edits: readonly Edit[], isPrimary: boolean): boolean {
  return isPrimary && edits.length > 0 && edits.every((edit) => edit.level === 'Study')
}

/** UTF-8 in base64, as blobs are sent. */
export function base64(text: string): string {
  const bytes = new TextEncoder().encode(text)
  let binary = ''
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
  return btoa(binary)
}

const FIXED = new Set(['SchemaVersion', 'DatastoreID', 'ImageSetID', 'PixelData', 'SOPClassUID', 'TransferSyntaxUID', 'FileMetaInformationGroupLength', 'FileMetaInformationVersion'])

/** Why an attribute cannot be changed here at all; null if it may be tried. The server has the last word. */
export function whyFixed(key: string, level: Level, isPrimary: boolean, dictionary: Dictionary, vr: string): string | null {
  if (FIXED.has(key)) return `${key} describes the file itself and cannot be changed.`
  if (isPrimary && (level === 'Patient' || level === 'Series')) {
    return `Attributes of the ${level.toLowerCase()} of a primary image set cannot be changed. Copy the image set, change the copy, delete this one, and promote the copy.`
  }
  if (isPrimary && ['StudyInstanceUID', 'SeriesInstanceUID', 'SOPInstanceUID'].includes(key)) return `${key} of a primary image set cannot be changed.`
  const attribute = dictionary.of(key)
  if (level !== 'Instance' && isPrivate(attribute.tag)) return 'Private attributes belong to the instances.'
  if (BINARY.has(vr) && level !== 'Instance') return 'Binary values cannot be edited here.'
  return null
}
