// Many frames in one answer: application/vnd.lightwell.frames, read as it arrives.
// 8 bytes "LWFRAMES", then records: u32 length of JSON, u64 length of body, both little endian; JSON; body.

export interface HeadRecord {
  readonly kind: 'head'
  readonly format: number
  readonly versionId?: string
  readonly level: number | null
  readonly frames: number
}

export interface FramePart {
  readonly kind: 'frame'
  readonly position: number
  readonly id: string
  readonly syntax: string
  readonly level: number | 'full' | null
  readonly width: number
  readonly height: number
  readonly reduce: number
  readonly omitted?: boolean
}

export interface ErrorPart {
  readonly kind: 'error'
  readonly position: number
  readonly id: string
  readonly type: string
  readonly message: string
}

export type PackedRecord = HeadRecord | FramePart | ErrorPart | { readonly kind: 'end'; readonly frames: number }

export interface Packed {
  readonly record: PackedRecord
  readonly body: Uint8Array<ArrayBuffer>
}

const MAGIC = 'LWFRAMES'
const MOST_JSON = 1 << 20
const MOST_BODY = 2 ** 31

/** Collects pieces of an answer and hands out its records; `finish` throws if the answer was cut off. */
export class PackedReader {
  #pieces: Uint8Array[] = []
  #held = 0
  #isPastMagic = false
  #isEnded = false

  /** The records that are complete with this piece. Throws an Error if it is not the format. */
  push(piece: Uint8Array): Packed[] {
    if (piece.length > 0) {
      this.#pieces.push(piece)
      this.#held += piece.length
    }
    const records: Packed[] = []
    if (!this.#isPastMagic) {
      if (this.#held < MAGIC.length) return records
      if (new TextDecoder('latin1').decode(this.#take(MAGIC.length)) !== MAGIC) throw new Error('The answer is not packed frames.')
      this.#isPastMagic = true
    }
    for (;;) {
      if (this.#held < 12) return records
      const lengths = new DataView(this.#peek(12).buffer)
      const json = lengths.getUint32(0, true)
      const body = Number(lengths.getBigUint64(4, true))
      if (json > MOST_JSON || body > MOST_BODY) throw new Error('A record of the packed frames is too long.')
      if (this.#held < 12 + json + body) return records
      if (this.#isEnded) throw new Error('There are records after the end of the packed frames.')
      this.#take(12)
      const record = JSON.parse(new TextDecoder().decode(this.#take(json))) as PackedRecord
      if (record.kind === 'head' && record.format !== 1) throw new Error(`Packed frames of format ${record.format} are unknown.`)
      if (record.kind === 'end') this.#isEnded = true
      records.push({ record, body: this.#take(body) })
    }
  }

  finish(): void {
    if (!this.#isEnded || this.#held > 0) throw new Error('The answer with the frames was cut off.')
  }

  #peek(length: number): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(length)
    let filled = 0
    for (const piece of this.#pieces) {
      const part = piece.subarray(0, length - filled)
      out.set(part, filled)
      filled += part.length
      if (filled === length) break
    }
    return out
  }

  #take(length: number): Uint8Array<ArrayBuffer> {
    const out = this.#peek(length)
    this.#held -= length
    for (let left = length; left > 0; ) {
      const piece = this.#pieces[0]!
      if (piece.length > left) {
        this.#pieces[0] = piece.subarray(left)
        left = 0
      } else {
        this.#pieces.shift()
        left -= piece.length
      }
    }
    return out
  }
}
