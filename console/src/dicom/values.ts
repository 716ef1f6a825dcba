// Values of the native metadata document as text, and text as values.

export const NUMERIC = new Set(['US', 'SS', 'UL', 'SL', 'SV', 'UV', 'FL', 'FD'])
export const BINARY = new Set(['OB', 'OW', 'OD', 'OF', 'OL', 'OV', 'UN'])
/** Text of which a backslash is a part, not a separator. */
const WHOLE_TEXT = new Set(['LT', 'ST', 'UT', 'UR'])

export type Items = Record<string, unknown>[]

export function isSequence(value: unknown): value is Items {
  return Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === 'object' && each !== null && !Array.isArray(each))
}

/** A value in one line; sequences as how many items they have. */
export function textOf(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (isSequence(value)) return value.length === 1 ? '1 item' : `${value.length} items`
  if (Array.isArray(value)) return value.map((each) => (each === null ? '' : textOf(each))).join('\\')
  if (typeof value === 'object') return stringify(value)
  return String(value)
}

/** The value that text means for a VR; null where it is empty. Raises an Error that says what is wrong with it. */
export function valueOf(text: string, vr: string, isMultiple: boolean): unknown {
  if (text === '') return null
  const first = vr.split(' or ')[0] ?? ''
  if (first === 'SQ') {
    const items = parse(text)
    if (!Array.isArray(items) || !items.every((each) => typeof each === 'object' && each !== null && !Array.isArray(each))) {
      throw new Error('A sequence is a list of items: [{"CodeValue": "…"}].')
    }
    return items
  }
  const one = (part: string): unknown => (NUMERIC.has(first) ? numberOf(part.trim(), first) : part)
  if (!isMultiple || WHOLE_TEXT.has(first)) return one(text)
  return text.split('\\').map(one)
}

function numberOf(text: string, vr: string): number | bigint {
  if (vr === 'FL' || vr === 'FD') {
    const found = Number(text)
    if (text === '' || !Number.isFinite(found)) throw new Error(`${text || 'Nothing'} is not a number.`)
    return found
  }
  if (!/^[+-]?\d+$/.test(text)) throw new Error(`${text || 'Nothing'} is not a whole number.`)
  const found = BigInt(text)
  return Number.isSafeInteger(Number(found)) ? Number(found) : found
}

const LONG_NUMBER = /[:[,]\s*-?\d{16,}\s*[,}\]]/
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
const MARK = '\u0000long number:'

/** JSON whose whole numbers keep all their digits: those that a number cannot hold become bigints. */
export function parse(text: string): unknown {
  if (!LONG_NUMBER.test(text)) return JSON.parse(text) as unknown
  const marked = text.replace(STRING_OR_NUMBER, (token) => (/^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? JSON.stringify(MARK + token) : token))
  return JSON.parse(marked, (_, value: unknown) => (typeof value === 'string' && value.startsWith(MARK) ? BigInt(value.slice(MARK.length)) : value)) as unknown
}

/** The inverse of `parse`. */
export function stringify(value: unknown): string {
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return `[${value.map(stringify).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value)
      .filter(([, each]) => each !== undefined)
      .map(([key, each]) => `${JSON.stringify(key)}:${stringify(each)}`)
      .join(',')}}`
  }
  return JSON.stringify(value) ?? 'null'
}

export interface NameGroup {
  label: string
  text: string
}

/** The component groups of a PN, each written as people write it; the raw value is for whoever wants it. */
export function nameGroups(value: string): NameGroup[] {
  return value
    .split('=')
    .slice(0, 3)
    .map((group, index) => {
      const [family = '', given = '', middle = '', prefix = '', suffix = ''] = group.split('^').map((part) => part.trim())
      const rest = [prefix, given, middle].filter(Boolean).join(' ')
      return {
        label: ['Alphabetic', 'Ideographic', 'Phonetic'][index] ?? '',
        text: [[family, rest].filter(Boolean).join(index === 0 ? ', ' : ' '), suffix].filter(Boolean).join(' ')
      }
    })
    .filter((group) => group.text !== '')
}
