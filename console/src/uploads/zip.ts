// Zip files, unpacked here: an import job reads the files in a bucket one by one and knows no archives.

import { BlobReader, BlobWriter, type Entry, type FileEntry, ZipReader, configure } from '@zip.js/zip.js/lib/zip-core-native.js'

// Workers would be started from blobs, which this page does not allow; the browser inflates beside the page anyway.
configure({ useWebWorkers: false, useCompressionStream: true })

export interface Member {
  path: string
  size: number
  /** Why it cannot be unpacked. */
  fault: string | null
  open: () => Promise<Blob>
  /** How it begins. */
  head: () => Promise<Blob>
}

const HEAD = 132

/** The files in a zip file. Raises an `Error` in a person's words if it cannot be read. */
export async function members(file: Blob): Promise<Member[]> {
  let entries: Entry[]
  // Names that lead elsewhere are cleaned below; nothing is written by them.
  try {
    entries = await new ZipReader(new BlobReader(file), { checkSignature: true, filenameValidation: 'tolerant' }).getEntries()
  } catch (error) {
    throw new Error(`it cannot be read as a zip file (${error instanceof Error ? error.message : String(error)})`)
  }
  return entries.filter((entry): entry is FileEntry => !entry.directory).map((entry) => ({
    path: cleanPath(entry.filename),
    size: entry.uncompressedSize,
    fault: entry.encrypted ? 'it is encrypted: unpack the zip file first' : null,
    open: async () => {
      try {
        return await entry.getData(new BlobWriter(), { checkSignature: true })
      } catch (error) {
        throw damaged(error)
      }
    },
    head: () => headOf(entry)
  }))
}

function damaged(error: unknown): Error {
  // Without a reason the browser had no room for what came out.
  if (!(error instanceof Error && error.message)) return new Error('it could not be unpacked here, perhaps since it is too large: unpack the zip file, and drop its folder')
  return new Error(`it is damaged in its zip file (${error.message})`)
}

/** Unpacks no more than is looked at. */
async function headOf(entry: FileEntry): Promise<Blob> {
  const stop = new AbortController()
  const parts: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  const sink = new WritableStream<Uint8Array<ArrayBuffer>>({
    write: (part) => {
      parts.push(part)
      size += part.length
      if (size >= HEAD) stop.abort()
    }
  })
  try {
    await entry.getData(sink, { signal: stop.signal })
  } catch (error) {
    if (size < HEAD) throw damaged(error)
  }
  return new Blob(parts)
}

/** A member's name without what leads elsewhere. */
export function cleanPath(name: string): string {
  return name.split(/[/\\]/).filter((part) => part !== '' && part !== '.' && part !== '..').join('/') || 'unnamed'
}
