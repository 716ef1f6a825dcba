// Lookup tables of data sets: Modality LUT, VOI LUT and palettes (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5).

import type { Attributes } from './attributes'

export interface LookupTable {
  /** The input of the first entry; lower inputs take the first entry, higher ones than the last take the last. */
  readonly first: number
  readonly entries: Uint16Array
  /** Bits that an entry uses. */
  readonly bits: number
}

/** The table of an item of a Modality or VOI LUT Sequence; undefined if it is not valid. */
export function lookupTable(item: Attributes): LookupTable | undefined {
  return table(item, 'LUTDescriptor', 'LUTData')
}

/** The red, green and blue tables of a palette; undefined if one is missing or not valid. */
export function palette(attributes: Attributes): readonly [LookupTable, LookupTable, LookupTable] | undefined {
  const [red, green, blue] = ['Red', 'Green', 'Blue'].map((colour) =>
    table(attributes, `${colour}PaletteColorLookupTableDescriptor`, `${colour}PaletteColorLookupTableData`)
  )
  return red && green && blue ? [red, green, blue] : undefined
}

function table(attributes: Attributes, descriptor: string, data: string): LookupTable | undefined {
  const [count = NaN, first = NaN, bits = NaN] = attributes.numbers(descriptor)
  if (!Number.isInteger(count) || !Number.isInteger(first) || !Number.isInteger(bits)) return undefined
  const length = count === 0 ? 65536 : count
  if (length < 1 || length > 65536 || bits < 1 || bits > 16) return undefined
  const entries = values(attributes, data, length)
  return entries ? { first, entries, bits } : undefined
}

function values(attributes: Attributes, keyword: string, length: number): Uint16Array | undefined {
  if (typeof attributes.value(keyword) === 'string') {
    const bytes = attributes.bytes(keyword)
    if (!bytes) return undefined
    // One entry in a word of 16 bits, or two of 8 bits in it.
    if (bytes.length >= 2 * length) return new Uint16Array(bytes.slice(0, 2 * length).buffer)
    return bytes.length >= length ? Uint16Array.from(bytes.subarray(0, length)) : undefined
  }
  const numbers = attributes.numbers(keyword)
  if (numbers.length < length || numbers.some((one) => !Number.isInteger(one))) return undefined
  return Uint16Array.from(numbers.slice(0, length), (one) => one & 0xffff)
}

export function look(table: LookupTable, input: number): number {
  const index = Math.floor(input + 0.5) - table.first
  return table.entries[index <= 0 ? 0 : index >= table.entries.length ? table.entries.length - 1 : index]!
}
