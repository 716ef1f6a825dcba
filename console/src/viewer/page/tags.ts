// The attributes of an instance as lines of text, level by level.

import type { Item } from '../model/attributes'
import type { Instance } from '../model/document'

export interface TagLine {
  readonly level: string
  readonly keyword: string
  readonly depth: number
  readonly value: string
  readonly vr: string
}

const LEVELS = ['Instance', 'Series', 'Study', 'Patient']
const MOST_VALUE = 400
export const MOST_LINES = 5000
// As long as the object: what identifies it would be cut off behind them.
const LAST = new Set(['PerFrameFunctionalGroupsSequence', 'ContentSequence'])

/** At most `MOST_LINES`. */
export function tagLines(instance: Instance): TagLine[] {
  const lines: TagLine[] = []
  const seen = new Set<string>()
  const late: (() => void)[] = []
  instance.attributes.layers.forEach((layer, i) => {
    for (const [keyword, value] of Object.entries(layer)) {
      // A value of a lower level hides that of a higher one.
      if (seen.has(keyword)) continue
      seen.add(keyword)
      const write = (): void => add(lines, LEVELS[i] ?? '', keyword, value, 0, instance.privateVrs)
      if (LAST.has(keyword)) late.push(write)
      else write()
    }
  })
  for (const write of late) write()
  return lines
}

function add(lines: TagLine[], level: string, keyword: string, value: unknown, depth: number, vrs: Readonly<Record<string, string>>): void {
  if (lines.length >= MOST_LINES) return
  const vr = vrs[keyword] ?? ''
  const name = /^[0-9A-F]{8}$/.test(keyword) ? `(${keyword.slice(0, 4)},${keyword.slice(4)})` : keyword
  if (isSequence(value)) {
    lines.push({ level, keyword: name, depth, value: value.length === 1 ? '1 item' : `${value.length} items`, vr: 'SQ' })
    value.forEach((item, i) => {
      if (lines.length >= MOST_LINES) return
      if (value.length > 1) lines.push({ level, keyword: `Item ${i + 1}`, depth: depth + 1, value: '', vr: '' })
      for (const [key, inner] of Object.entries(item)) add(lines, level, key, inner, depth + (value.length > 1 ? 2 : 1), vrs)
    })
    return
  }
  lines.push({ level, keyword: name, depth, value: textOf(value), vr })
}

function isSequence(value: unknown): value is readonly Item[] {
  return Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'object' && one !== null)
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return ''
  const text = (Array.isArray(value) ? value : [value]).map(String).join(' \\ ')
  return text.length > MOST_VALUE ? `${text.slice(0, MOST_VALUE)}… (${text.length.toLocaleString('en')} characters)` : text
}
