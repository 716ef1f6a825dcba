// The digest by which uploads tell files apart: SHA-256 of the SHA-256s of each 8 MiB, since WebCrypto hashes whole buffers.

export const PIECE = 8 << 20

function hex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Of a file, read piece by piece, or of bytes that are in memory. */
export async function digestOf(content: Blob | ArrayBuffer, signal?: AbortSignal): Promise<string> {
  const size = content instanceof ArrayBuffer ? content.byteLength : content.size
  const digests = new Uint8Array(Math.ceil(size / PIECE) * 32)
  for (let from = 0, at = 0; from < size; from += PIECE, at += 32) {
    signal?.throwIfAborted()
    const piece = content instanceof ArrayBuffer ? new Uint8Array(content, from, Math.min(PIECE, size - from)) : await content.slice(from, from + PIECE).arrayBuffer()
    digests.set(new Uint8Array(await crypto.subtle.digest('SHA-256', piece)), at)
  }
  return hex(await crypto.subtle.digest('SHA-256', digests))
}
