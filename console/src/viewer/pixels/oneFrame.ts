// One frame, decoded: as it is stored where that is HTJ2K, else by the server.

import type { Instance } from '../model/document'
import { imageOf } from '../model/image'
import type { ImageSource } from '../source'
import type { Decoders } from './decoders'
import type { DecodedFrame } from './frame'
import { nativeFrame } from './native'

export const HTJ2K = '1.2.840.10008.1.2.4.202'
const EXPLICIT = '1.2.840.10008.1.2.1'

/** Whether the browser decodes the frames of an instance itself. Its codec has no bytes with a sign: it cuts them off at 0. */
export function isDecodedHere(instance: Instance): boolean {
  if (instance.storedSyntax !== HTJ2K) return false
  const { isFloat, bitsAllocated, signed } = imageOf(instance)
  return !isFloat && (bitsAllocated === 16 || (bitsAllocated === 8 && !signed))
}

export interface StoredFrame {
  /** A codestream, which may be cut. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** How many times it is halved; 0 is the whole picture. */
  readonly reduce: number
  /** See `Decoding`. */
  readonly urgency: () => number
}

/** Samples of a stored HTJ2K codestream; whole ones are compared with the checksum made at import. `frame` counts from 0. */
export async function decodeStored(instance: Instance, frame: number, stored: StoredFrame, decoders: Decoders): Promise<DecodedFrame> {
  const image = imageOf(instance)
  const checksums = instance.frames[frame]?.PixelDataChecksumFromBaseToFullResolution
  const { data, width, height } = await decoders.decode({
    ...stored,
    expected: { rows: image.rows, columns: image.columns, samples: image.samples, bits: image.bitsAllocated, signed: image.signed },
    checksum: instance.hasSampleChecksums ? checksums?.at(-1)?.Checksum : undefined
  })
  return { ...nativeFrame(data, { ...image, rows: height, columns: width, planar: false }, false), reduce: stored.reduce }
}

/** Samples that the server decoded. */
export async function decodedByServer(instance: Instance, frame: number, source: ImageSource, signal: AbortSignal): Promise<DecodedFrame> {
  const image = imageOf(instance)
  const isSubsampled = instance.storedSyntax === EXPLICIT && image.samples === 3 && image.photometric.endsWith('_422')
  return nativeFrame(await source.decodedFrame(instance, frame, signal), image, isSubsampled)
}
