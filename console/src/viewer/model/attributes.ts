// Attributes as GetImageSetMetadata writes them: keyword → value, DS and IS as text (PS3.5 6.2), binary as base64.

export type Item = Readonly<Record<string, unknown>>

/** Attributes of one image, looked up in several data sets: the first that has a keyword wins. */
export class Attributes {
  constructor(readonly layers: readonly Item[]) {}

  /** The same with data sets that take precedence, such as functional groups. */
  over(...layers: Item[]): Attributes {
    return new Attributes([...layers, ...this.layers])
  }

  value(keyword: string): unknown {
    for (const layer of this.layers) {
      const value = layer[keyword]
      if (value !== undefined) return value
    }
    return undefined
  }

  has(keyword: string): boolean {
    const value = this.value(keyword)
    return value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && value.length === 0)
  }

  /** All values as text, without padding; an empty one stays in its place. */
  texts(keyword: string): string[] {
    const value = this.value(keyword)
    if (value === undefined || value === null) return []
    return (Array.isArray(value) ? value : [value]).map((one) =>
      typeof one === 'string' ? one.replace(/[\s\0]+$/u, '') : typeof one === 'object' ? '' : String(one)
    )
  }

  text(keyword: string): string {
    return this.texts(keyword)[0]?.trim() ?? ''
  }

  /** All values as numbers; NaN stands for what is none. */
  numbers(keyword: string): number[] {
    return this.texts(keyword).map(toNumber)
  }

  /** The first value as a finite number. */
  number(keyword: string): number | undefined {
    const value = this.numbers(keyword)[0]
    return value !== undefined && Number.isFinite(value) ? value : undefined
  }

  items(keyword: string): Item[] {
    const value = this.value(keyword)
    if (!Array.isArray(value)) return []
    return value.filter((one): one is Item => typeof one === 'object' && one !== null && !Array.isArray(one))
  }

  /** A binary value; undefined if there is none, or it is not base64. */
  bytes(keyword: string): Uint8Array | undefined {
    const value = this.value(keyword)
    return typeof value === 'string' && value !== '' ? fromBase64(value) : undefined
  }
}

export function attributesOf(item: Item): Attributes {
  return new Attributes([item])
}

function toNumber(text: string): number {
  const trimmed = text.trim()
  return trimmed === '' ? NaN : Number(trimmed)
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    const binary = atob(text)
    const bytes = new Uint8Array(binary.length)
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
    return bytes
  } catch {
    return undefined
  }
}
