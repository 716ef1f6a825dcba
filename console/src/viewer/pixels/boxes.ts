// JP2 boxes around a codestream (ISO/IEC 15444-1 Annex I): native frames have them, DICOMweb's do not.

/** The bare codestream in `bytes`, which may be in boxes. Throws an Error if there is none. */
export function codestreamOf(bytes: Uint8Array): Uint8Array {
  if (bytes[0] === 0xff && bytes[1] === 0x4f) return bytes
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + 8 <= bytes.length; ) {
    let length = view.getUint32(at)
    let head = 8
    if (length === 1 && at + 16 <= bytes.length) {
      length = Number(view.getBigUint64(at + 8))
      head = 16
    }
    if (view.getUint32(at + 4) === 0x6a703263) return bytes.subarray(at + head, length === 0 ? bytes.length : at + length)
    if (length < 8) break
    at += length
  }
  throw new Error('the frame has no codestream')
}
