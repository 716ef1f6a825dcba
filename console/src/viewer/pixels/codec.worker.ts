// Decodes HTJ2K away from the page, by OpenJPH. Own script and wasm of the site's origin; no eval.

import OpenJph from '@cornerstonejs/codec-openjph'
import wasmUrl from '@cornerstonejs/codec-openjph/wasm?url'
import { crc32 } from './crc32'
import type { DecodeJob, DecodeResult } from './decodeMessages'
import { codestreamOf } from './boxes'
import { linesInOrder } from './planes'
import { WARM_UP, WARM_UP_STREAM } from './warmUp'
import { fromBase64 } from '../model/attributes'

const codec = OpenJph({ locateFile: () => wasmUrl, print: () => {}, printErr: () => {} })

const scope = self as unknown as {
  onmessage: ((event: MessageEvent<DecodeJob>) => void) | null
  postMessage(message: DecodeResult, transfer: Transferable[]): void
}

scope.onmessage = ({ data: job }) => {
  void decode(job).then(
    (result) => scope.postMessage(result, 'data' in result ? [result.data.buffer] : []),
    (error: unknown) => scope.postMessage({ id: job.id, error: messageOf(error) }, [])
  )
}

const ROUNDS = 60

async function warmUp(): Promise<void> {
  const bytes = fromBase64(WARM_UP_STREAM)
  for (let round = 0; bytes && round < ROUNDS; round++) {
    await decode({ id: 0, bytes, expected: WARM_UP, reduce: round % 3 === 0 ? 1 : 0, checksum: undefined })
    // Real work goes first.
    if (round % 10 === 9) await new Promise((resolve) => setTimeout(resolve))
  }
}

void warmUp().catch(() => undefined)

async function decode(job: DecodeJob): Promise<DecodeResult> {
  const module = await codec
  const decoder = new module.HTJ2KDecoder()
  try {
    const stream = codestreamOf(job.bytes)
    decoder.getEncodedBuffer(stream.length).set(stream)
    decoder.readHeader()
    const info = decoder.getFrameInfo()
    const { expected } = job
    if (
      info.width !== expected.columns ||
      info.height !== expected.rows ||
      info.componentCount !== expected.samples ||
      info.bitsPerSample !== expected.bits ||
      info.isSigned !== expected.signed
    ) {
      const found = `${info.width} × ${info.height} × ${info.componentCount}, ${info.bitsPerSample} bits`
      throw new Error(`the codestream holds ${found}, which differs from the attributes of the image`)
    }
    let { width, height } = info
    if (job.reduce > 0) {
      ;({ width, height } = decoder.calculateSizeAtDecompositionLevel(job.reduce))
      decoder.decodeSubResolution(job.reduce)
    } else decoder.decode()
    const buffer = decoder.getDecodedBuffer()
    const length = width * height * expected.samples * (expected.bits / 8)
    if (buffer.length < length) throw new Error(`the frame decodes to ${buffer.length} bytes instead of ${length}`)
    const data = buffer.slice(0, length)
    const hasMixedLines = expected.samples > 1 && !info.isUsingColorTransform
    const ordered = hasMixedLines ? linesInOrder(data, width, height, expected.samples, expected.bits / 8) : data
    if (job.reduce > 0 || job.checksum === undefined || crc32(ordered) === job.checksum) return { id: job.id, width, height, data: ordered }
    if (hasMixedLines && crc32(data) === job.checksum) return { id: job.id, width, height, data }
    throw new Error('the frame decodes to other pixels than were imported: its checksum differs')
  } finally {
    decoder.delete()
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'the codec refused the frame'
}
