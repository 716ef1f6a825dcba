// What was dropped or picked, as a flat list of files: folders are walked, zip files looked into.

import { hasMark, isOtherKind, reasonByName } from './leftOut'
import type { Member } from './zip'

export interface Source {
  /** Where it was, relative to what was dropped, with slashes. */
  path: string
  size: number
  open: () => Promise<Blob>
}

export interface LeftOut {
  path: string
  reason: string
}

export interface Collected {
  /** What was dropped, for people. */
  label: string
  sources: Source[]
  bytes: number
  leftOut: LeftOut[]
  /** Files that could not be read here, or not be unpacked. */
  unreadable: LeftOut[]
}

/** Something dropped or picked. */
export type Item = { path: string; file: File } | FileSystemEntry

/** To be called in the drop event itself: afterwards the browser has forgotten them. */
export function itemsOfDrop(transfer: DataTransfer): Item[] {
  const found: Item[] = []
  for (const item of transfer.items) {
    if (item.kind !== 'file') continue
    const entry = item.webkitGetAsEntry()
    const file = entry === null ? item.getAsFile() : null
    if (entry !== null) found.push(entry)
    else if (file !== null) found.push({ path: file.name, file })
  }
  return found
}

export function itemsOfInput(input: HTMLInputElement): Item[] {
  return Array.from(input.files ?? [], (file) => ({ path: file.webkitRelativePath || file.name, file }))
}

function isPicked(item: Item): item is { path: string; file: File } {
  return 'file' in item && item.file instanceof File
}

const PAUSE_EVERY = 200

export class Collector {
  private readonly found: Collected = { label: '', sources: [], bytes: 0, leftOut: [], unreadable: [] }
  private readonly paths = new Set<string>()
  private seen = 0

  constructor(
    private readonly onProgress: (files: number) => void,
    private readonly signal: AbortSignal
  ) {}

  async collect(items: Item[]): Promise<Collected> {
    this.found.label = labelOf(items)
    for (const item of items) {
      if (isPicked(item)) await this.add(item.path, item.file)
      else await this.walk(item)
    }
    return this.found
  }

  private async walk(entry: FileSystemEntry): Promise<void> {
    const path = entry.fullPath.replace(/^\/+/, '') || entry.name
    if (entry.isFile) {
      try {
        await this.add(path, await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)))
      } catch (error) {
        this.unreadable(path, error)
      }
      return
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader()
    for (;;) {
      let some: FileSystemEntry[]
      try {
        some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
      } catch (error) {
        this.unreadable(`${path}/`, error)
        return
      }
      if (some.length === 0) return
      for (const each of some) await this.walk(each)
    }
  }

  private async add(path: string, file: File): Promise<void> {
    this.signal.throwIfAborted()
    if (++this.seen % PAUSE_EVERY === 0) {
      this.onProgress(this.seen)
      // Let the page draw and answer.
      await new Promise((resolve) => setTimeout(resolve))
    }
    const reason = reasonByName(path)
    if (reason !== null) {
      this.found.leftOut.push({ path, reason })
      return
    }
    try {
      if (/\.zip$/i.test(path) && (await isZip(file))) await this.unpack(path, file)
      else if (isOtherKind(path) && !(await hasMark(file))) this.found.leftOut.push({ path, reason: 'not a DICOM file' })
      else this.keep(path, file.size, () => Promise.resolve(file))
    } catch (error) {
      if (this.signal.aborted) throw error
      this.unreadable(path, error)
    }
  }

  private async unpack(path: string, file: File): Promise<void> {
    const { members } = await import('./zip')
    for (const member of await members(file)) {
      this.signal.throwIfAborted()
      const whole = `${path}/${member.path}`
      const reason = reasonByName(member.path)
      if (reason !== null) this.found.leftOut.push({ path: whole, reason })
      else if (isOtherKind(member.path) && !(await isMarked(member))) this.found.leftOut.push({ path: whole, reason: 'not a DICOM file' })
      else if (member.fault !== null) this.found.unreadable.push({ path: whole, reason: member.fault })
      else this.keep(whole, member.size, member.open)
      if (++this.seen % PAUSE_EVERY === 0) this.onProgress(this.seen)
    }
  }

  private keep(path: string, size: number, open: () => Promise<Blob>): void {
    let unique = path
    for (let number = 2; this.paths.has(unique); number++) unique = `${number}/${path}`
    this.paths.add(unique)
    this.found.sources.push({ path: unique, size, open })
    this.found.bytes += size
  }

  private unreadable(path: string, error: unknown): void {
    this.found.unreadable.push({ path, reason: error instanceof Error && error.message ? error.message : 'it cannot be read' })
  }
}

/** Whether a member of a zip file is DICOM in spite of its name, if it can be unpacked. */
async function isMarked(member: Member): Promise<boolean> {
  if (member.fault !== null) return false
  return member.head().then(hasMark, () => false)
}

async function isZip(file: Blob): Promise<boolean> {
  const head = new Uint8Array(await file.slice(0, 4).arrayBuffer())
  return head[0] === 0x50 && head[1] === 0x4b && (head[2] === 3 || head[2] === 5)
}

function labelOf(items: Item[]): string {
  const roots = new Set(items.map((item) => (isPicked(item) ? item.path : item.name).split('/')[0] ?? ''))
  const [first = '', ...others] = roots
  return (others.length === 0 ? first : `${first} and ${others.length} more`).slice(0, 1000).replace(/\p{Surrogate}/gu, '\ufffd') || 'files'
}
