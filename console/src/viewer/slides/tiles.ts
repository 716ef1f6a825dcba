// One tile of a slide as a picture.

import type { Instance } from '../model/document'
import { type ImageDescription, decodedPhotometric, describeImage, isMonochrome } from '../model/image'
import { drawColour } from '../pixels/colour'
import type { Decoders } from '../pixels/decoders'
import type { SampleArray } from '../pixels/frame'
import { decodeStored, decodedByServer, isDecodedHere } from '../pixels/oneFrame'
import type { ImageSource } from '../source'

const JPEG_BASELINE = '1.2.840.10008.1.2.4.50'

/** `frame` counts from 0. Raises an Error that says why there is no picture. */
export async function tilePicture(
  instance: Instance,
  frame: number,
  source: ImageSource,
  decoders: Decoders,
  signal: AbortSignal
): Promise<ImageBitmap | HTMLCanvasElement> {
  const image = describeImage(instance.attributes)
  const record = instance.frames[frame]
  if (record === undefined) throw new Error('The slide has no such tile.')
  // A browser takes JPEG without markers of its own for YCbCr, which is right only where the attributes say so, too.
  if (instance.storedSyntax === JPEG_BASELINE && image.samples === 3 && image.photometric.startsWith('YBR_FULL')) {
    const bytes = await stored(instance, record.ID, source, signal)
    return createImageBitmap(new Blob([bytes], { type: 'image/jpeg' }), { colorSpaceConversion: 'none' })
  }
  const decoded = isDecodedHere(instance)
    ? await decodeStored(instance, frame, { bytes: await stored(instance, record.ID, source, signal), reduce: 0, urgency: () => (signal.aborted ? Infinity : 0) }, decoders)
    : await decodedByServer(instance, frame, source, signal)
  const pixels = isMonochrome(image.photometric)
    ? greysOf(decoded.data, image)
    : drawColour(decoded, image, instance.attributes, decodedPhotometric(image, instance.storedSyntax), false)
  const canvas = document.createElement('canvas')
  canvas.width = decoded.width
  canvas.height = decoded.height
  canvas.getContext('2d')!.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer as ArrayBuffer), decoded.width, decoded.height), 0, 0)
  return canvas
}

/** Pixels of samples that are greys themselves. Raises an Error where they are values of another kind. */
export function greysOf(data: SampleArray, image: ImageDescription): Uint32Array {
  if (!(data instanceof Uint8Array) || image.bitsStored !== 8 || image.photometric === 'MONOCHROME1') {
    throw new Error(`Grey tiles of ${image.bitsStored} bits${image.signed ? ' with a sign' : ''} in ${image.photometric || 'no colour model'} cannot be shown.`)
  }
  return Uint32Array.from(data, (value) => 0xff000000 | (value << 16) | (value << 8) | value)
}

async function stored(instance: Instance, id: string, source: ImageSource, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  for await (const { record, body } of source.frames(instance.origin, { ids: [id] }, signal)) {
    if (record.kind === 'error') throw new Error(record.message)
    if (record.kind === 'frame' && record.id === id) return body
  }
  throw new Error('The server did not send this tile.')
}
