// Tags, keywords and VRs of PS3.6, as the server knows them. The list is made by tools/console_dictionary.py.

export type Level = 'Patient' | 'Study' | 'Series' | 'Instance'

export interface Attribute {
  /** Eight upper-case hex digits. */
  tag: string
  /** Empty for what has none: private, unknown and repeating elements. */
  keyword: string
  /** The dictionary's, such as `US or SS`; empty if unknown. */
  vr: string
  isMultiple: boolean
  /** The level of the native metadata at which the attribute stands. */
  level: Level
}

const LEVELS: Record<string, Level> = { p: 'Patient', s: 'Study', e: 'Series' }
const DIGITS = /^[0-9A-F]{8}$/

export class Dictionary {
  readonly all: readonly Attribute[]
  private readonly byKeyword = new Map<string, Attribute>()
  private readonly byTag = new Map<string, Attribute>()

  constructor(groups: Record<string, string>) {
    const all: Attribute[] = []
    for (const [group, entries] of Object.entries(groups)) {
      for (const entry of entries.split('|')) {
        const [name = '', vr = '', flags = ''] = entry.split(':')
        const attribute = {
          tag: group + name.slice(0, 4),
          keyword: name.slice(4),
          vr,
          isMultiple: flags.startsWith('m'),
          level: LEVELS[flags.slice(-1)] ?? ('Instance' as const)
        }
        all.push(attribute)
        this.byKeyword.set(attribute.keyword, attribute)
        this.byTag.set(attribute.tag, attribute)
      }
    }
    this.all = all
  }

  /** What a key of the native metadata means: a keyword, or eight hex digits where there is none. */
  of(key: string, vrs?: Readonly<Record<string, string>>): Attribute {
    const known = this.byKeyword.get(key)
    if (known !== undefined) return known
    if (!DIGITS.test(key)) return { tag: '', keyword: key, vr: vrs?.[key] ?? '', isMultiple: false, level: 'Instance' }
    return { tag: key, keyword: '', vr: vrs?.[key] ?? this.byTag.get(key)?.vr ?? '', isMultiple: false, level: 'Instance' }
  }

  tagged(tag: string): Attribute | undefined {
    return this.byTag.get(tag)
  }

  /** Attributes whose keyword or tag contains `text`, those that begin with it first. */
  suggestions(text: string, most: number): Attribute[] {
    const wanted = text.trim().toLowerCase()
    if (wanted === '') return []
    const digits = tagDigits(wanted)
    const first: Attribute[] = []
    const others: Attribute[] = []
    for (const each of this.all) {
      const keyword = each.keyword.toLowerCase()
      if (keyword.startsWith(wanted) || (digits !== null && each.tag.startsWith(digits))) first.push(each)
      else if (keyword.includes(wanted)) others.push(each)
    }
    return [...first, ...others].slice(0, most)
  }
}

/** `(0010,0020)`, `0010,0020` or `00100020`, whole or its beginning, as digits; null for anything else. */
export function tagDigits(text: string): string | null {
  const digits = text.replace(/[(),\s]/g, '').toUpperCase()
  return /^[0-9A-F]{4,8}$/.test(digits) && /\d/.test(digits) ? digits : null
}

/** `(0010,0020)`. */
export function shownTag(tag: string): string {
  return tag === '' ? '' : `(${tag.slice(0, 4)},${tag.slice(4)})`
}

/** Group and element of a private attribute have an odd group. */
export function isPrivate(tag: string): boolean {
  return tag !== '' && parseInt(tag.slice(3, 4), 16) % 2 === 1
}

let loading: Promise<Dictionary> | undefined

/** Loaded when it is first wanted. */
export function loadDictionary(): Promise<Dictionary> {
  loading ??= import('./dictionary.json').then((found) => new Dictionary(found.default as Record<string, string>))
  return loading
}
