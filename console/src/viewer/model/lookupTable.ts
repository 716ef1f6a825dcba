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
  const [red, green, blue] = ['Red', 'Green', 'Blue'].map((colour) => {
    const descriptor = `${colour}PaletteColorLookupTableDescriptor`
    const segmented = `Segmented${colour}PaletteColorLookupTableData`
    return attributes.has(segmented)
      ? table(attributes, descriptor, segmented, expanded)
      : table(attributes, descriptor, `${colour}PaletteColorLookupTableData`)
  })
  return red && green && blue ? [red, green, blue] : undefined
}

type Reader = (attributes: Attributes, keyword: string, length: number, bits: number) => Uint16Array | undefined

function table(attributes: Attributes, descriptor: string, data: string, read: Reader = values): LookupTable | undefined {
  const [count = NaN, first = NaN, bits = NaN] = attributes.numbers(descriptor)
  if (!Number.isInteger(count) || !Number.isInteger(first) || !Number.isInteger(bits)) return undefined
  // A count above 32,767 reads as a negative number where the descriptor was written as signed.
  const length = (count & 0xffff) || 65536
  if (count < -32768 || count > 65536 || bits < 1 || bits > 16) return undefined
  const entries = read(attributes, data, length, bits)
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

const INDIRECT_DEPTH = 1

/** A segmented table: discrete, linear and indirect segments (PS3.3 C.7.9.2). */
function expanded(attributes: Attributes, keyword: string, length: number, bits: number): Uint16Array | undefined {
  const bytes = attributes.bytes(keyword)
  if (!bytes) return undefined
  const words = bits > 8 ? new Uint16Array(bytes.slice(0, bytes.length & ~1).buffer) : Uint16Array.from(bytes)
  const out: number[] = []
  const run = (start: number, segments: number, depth: number): boolean => {
    let at = start
    for (let n = 0; n < segments && at < words.length && out.length < length; n++) {
      const [kind, count] = [words[at]!, words[at + 1] ?? 0]
      if (kind === 0) {
        out.push(...words.subarray(at + 2, at + 2 + count))
        at += 2 + count
      } else if (kind === 1) {
        const [from, to] = [out.at(-1), words[at + 2]]
        if (from === undefined || to === undefined) return false
        for (let i = 1; i <= count; i++) out.push(Math.round(from + ((to - from) * i) / count))
        at += 3
      } else if (kind === 2 && depth < INDIRECT_DEPTH) {
        const place =
          bits > 8
            ? (words[at + 2] ?? 0) + (words[at + 3] ?? 0) * 65536
            : [5, 4, 3, 2].reduce((sum, k) => sum * 256 + (words[at + k] ?? 0), 0)
        if (!run(bits > 8 ? place / 2 : place, count, depth + 1)) return false
        at += bits > 8 ? 4 : 6
      } else return false
    }
    return true
  }
  return run(0, Infinity, 0) && out.length >= length ? Uint16Array.from(out.slice(0, length)) : undefined
}

export function look(table: LookupTable, input: number): number {
  const index = Math.floor(input + 0.5) - table.first
  return table.entries[index <= 0 ? 0 : index >= table.entries.length ? table.entries.length - 1 : index]!
}
