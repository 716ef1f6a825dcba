// One frame, whole, decoded: as it is stored where that is HTJ2K, else by the server.

import type { Instance } from '../model/document'
import { describeImage } from '../model/image'
import type { ImageSource } from '../source'
import type { Decoders } from './decoders'
import type { DecodedFrame } from './frame'
import { nativeFrame } from './native'

const HTJ2K = '1.2.840.10008.1.2.4.202'
const EXPLICIT = '1.2.840.10008.1.2.1'

/** Whether the browser decodes the frames of an instance itself. */
export function isDecodedHere(instance: Instance): boolean {
  if (instance.storedSyntax !== HTJ2K) return false
  const { isFloat, bitsAllocated } = describeImage(instance.attributes)
  return !isFloat && (bitsAllocated === 8 || bitsAllocated === 16)
}

/** Samples of a stored HTJ2K codestream; compared with the checksum that was made of them at import. `frame` counts from 0. */
export async function decodeStored(
  instance: Instance,
  frame: number,
  bytes: Uint8Array<ArrayBuffer>,
  decoders: Decoders,
  urgency: () => number
): Promise<DecodedFrame> {
  const image = describeImage(instance.attributes)
  const checksums = instance.frames[frame]?.PixelDataChecksumFromBaseToFullResolution
  const { data, width, height } = await decoders.decode({
    bytes,
    expected: { rows: image.rows, columns: image.columns, samples: image.samples, bits: image.bitsAllocated, signed: image.signed },
    reduce: 0,
    checksum: instance.hasSampleChecksums ? checksums?.at(-1)?.Checksum : undefined,
    urgency
  })
  return nativeFrame(data, { ...image, rows: height, columns: width, planar: false }, false)
}

/** Samples that the server decoded. */
export async function decodedByServer(instance: Instance, frame: number, source: ImageSource, signal: AbortSignal): Promise<DecodedFrame> {
  const image = describeImage(instance.attributes)
  const isSubsampled = instance.storedSyntax === EXPLICIT && image.samples === 3 && image.photometric.endsWith('_422')
  return nativeFrame(await source.decodedFrame(instance, frame, signal), image, isSubsampled)
}
