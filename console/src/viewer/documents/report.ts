// A structured report as a tree of lines (PS3.3 C.17.3). All values are text of an untrusted file.

import { type Item, attributesOf } from '../model/attributes'
import type { DisplaySet } from '../model/displaySets'
import { dicomDate, dicomTime, personName } from '../../ui/format'

export interface ReportLine {
  readonly name: string
  readonly value: string
  /** A container: `value` is empty and `lines` are its content. */
  readonly isHeading: boolean
  readonly lines: readonly ReportLine[]
  /** The SOP Instance UID that an IMAGE, COMPOSITE or WAVEFORM item refers to, and its frames, from 1; none means all. */
  readonly reference?: { readonly uid: string; readonly frames: readonly number[] }
}

export interface Report {
  readonly title: string
  readonly isVerified: boolean
  readonly isComplete: boolean
  readonly isPreliminary: boolean
  readonly lines: readonly ReportLine[]
  /** Whether there was more than is shown. */
  readonly isCut: boolean
}

export const MOST_LINES = 20_000
const DEEPEST = 64

/** Where a study has what a line refers to; the report's own image set is preferred, as copies have the same UIDs. */
export function placeOf(reference: ReportLine['reference'], sets: readonly DisplaySet[], own: string): { set: DisplaySet; index: number | undefined } | undefined {
  if (reference === undefined) return undefined
  const having = sets.filter((one) => one.instances.some((instance) => instance.uid === reference.uid))
  const set = having.find((one) => one.series.origin.imageSetId === own) ?? having[0]
  if (set === undefined) return undefined
  const [first] = reference.frames
  const index = set.frames.findIndex(({ instance, frame }) => instance.uid === reference.uid && (first === undefined || frame === first - 1))
  return { set, index: index < 0 ? undefined : index }
}

export function readReport(item: Item): Report {
  const attributes = attributesOf(item)
  const budget = { left: MOST_LINES, isCut: false }
  return {
    title: concept(item) || 'Structured report',
    isVerified: attributes.text('VerificationFlag') === 'VERIFIED',
    isComplete: attributes.text('CompletionFlag') === 'COMPLETE',
    isPreliminary: attributes.text('PreliminaryFlag') === 'PRELIMINARY',
    lines: linesOf(item, 0, budget),
    isCut: budget.isCut
  }
}

function linesOf(item: Item, depth: number, budget: { left: number; isCut: boolean }): ReportLine[] {
  const lines: ReportLine[] = []
  for (const child of attributesOf(item).items('ContentSequence')) {
    if (budget.left-- <= 0 || depth >= DEEPEST) {
      budget.isCut = true
      break
    }
    lines.push(line(child, depth, budget))
  }
  return lines
}

function line(item: Item, depth: number, budget: { left: number; isCut: boolean }): ReportLine {
  const attributes = attributesOf(item)
  const type = attributes.text('ValueType')
  const reference = attributes.items('ReferencedSOPSequence')[0]
  return {
    name: concept(item),
    value: valueOf(item, type),
    isHeading: type === 'CONTAINER',
    lines: linesOf(item, depth + 1, budget),
    reference: reference && {
      uid: attributesOf(reference).text('ReferencedSOPInstanceUID'),
      frames: attributesOf(reference).numbers('ReferencedFrameNumber')
    }
  }
}

function valueOf(item: Item, type: string): string {
  const attributes = attributesOf(item)
  switch (type) {
    case 'CONTAINER':
      return ''
    case 'TEXT':
      return attributes.text('TextValue')
    case 'CODE':
      return coded(attributes.items('ConceptCodeSequence')[0])
    case 'NUM':
      return measured(item)
    case 'PNAME':
      return personName(attributes.text('PersonName'))
    case 'DATE':
      return dicomDate(attributes.text('Date'))
    case 'TIME':
      return dicomTime(attributes.text('Time'))
    case 'DATETIME':
      return dateTime(attributes.text('DateTime'))
    case 'UIDREF':
      return attributes.text('UID')
    case 'SCOORD':
    case 'SCOORD3D': {
      const count = attributes.numbers('GraphicData').length / (type === 'SCOORD' ? 2 : 3)
      return `${attributes.text('GraphicType').toLowerCase()} of ${Math.floor(count)} points`
    }
    case 'TCOORD':
      return attributes.text('TemporalRangeType').toLowerCase()
    case 'IMAGE':
    case 'COMPOSITE':
    case 'WAVEFORM':
      return type.toLowerCase()
    default:
      // An item by reference has an identifier and nothing else.
      return attributes.has('ReferencedContentItemIdentifier') ? `see item ${attributes.texts('ReferencedContentItemIdentifier').join('.')}` : type
  }
}

function measured(item: Item): string {
  const attributes = attributesOf(item)
  const measurement = attributes.items('MeasuredValueSequence')[0]
  if (measurement === undefined) return coded(attributes.items('NumericValueQualifierCodeSequence')[0]) || 'no value'
  const found = attributesOf(measurement)
  const unit = found.items('MeasurementUnitsCodeSequence')[0]
  return [found.text('NumericValue'), unitOf(unit)].filter(Boolean).join(' ')
}

/** Codes of UCUM are how units are written; those of other schemes say nothing to a reader. */
function unitOf(item: Item | undefined): string {
  if (item === undefined) return ''
  const attributes = attributesOf(item)
  const scheme = attributes.text('CodingSchemeDesignator')
  const code = attributes.text('CodeValue')
  if (code === '' || (scheme !== '' && scheme !== 'UCUM')) return coded(item)
  // `1` is UCUM's "no unit"; annotations in braces are read as they are.
  return code === '1' ? '' : code.replace(/^\{(.*)\}$/, '$1')
}

function dateTime(value: string): string {
  const found = /^(\d{8})(\d{4})?/.exec(value)
  return found === null ? value : [dicomDate(found[1]), found[2] === undefined ? '' : dicomTime(found[2])].filter(Boolean).join(' ')
}

function concept(item: Item): string {
  return coded(attributesOf(item).items('ConceptNameCodeSequence')[0])
}

function coded(item: Item | undefined): string {
  if (item === undefined) return ''
  const attributes = attributesOf(item)
  return attributes.text('CodeMeaning') || attributes.text('CodeValue') || attributes.text('LongCodeValue') || attributes.text('URNCodeValue')
}
