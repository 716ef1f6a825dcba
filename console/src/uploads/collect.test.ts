import { expect, test } from 'vitest'
import { BlobWriter, TextReader, ZipWriter } from '@zip.js/zip.js/lib/zip-core-native.js'
import { Collector, type Item } from './collect'
import { cleanPath, members } from './zip'

/** A folder as a browser gives it: a hundred entries at a time. */
function folder(path: string, children: FileSystemEntry[]): FileSystemEntry {
  return {
    isFile: false,
    isDirectory: true,
    name: path.split('/').pop(),
    fullPath: path,
    createReader: () => {
      const left = [...children]
      return { readEntries: (resolve: (some: FileSystemEntry[]) => void) => resolve(left.splice(0, 100)) }
    }
  } as unknown as FileSystemEntry
}

function entry(path: string, content: string | Error): FileSystemEntry {
  const file = (resolve: (file: File) => void, reject: (error: Error) => void) =>
    content instanceof Error ? reject(content) : resolve(new File([content], path.split('/').pop()!))
  return { isFile: true, isDirectory: false, name: path.split('/').pop(), fullPath: path, file } as unknown as FileSystemEntry
}

const collect = (...items: Item[]) => new Collector(() => undefined, new AbortController().signal).collect(items)

async function zip(files: Record<string, string>, password?: string): Promise<Blob> {
  const writer = new ZipWriter(new BlobWriter(), { useWebWorkers: false })
  for (const [name, text] of Object.entries(files)) await writer.add(name, new TextReader(text), { password })
  return writer.close()
}

test('walks folders, and names what it leaves out and cannot read', async () => {
  const many = Array.from({ length: 250 }, (_, index) => entry(`/CD/IM/${index}`, 'x'))
  const found = await collect(
    folder('/CD', [folder('/CD/IM', many), entry('/CD/DICOMDIR', 'x'), entry('/CD/viewer.exe', 'MZ'), entry('/CD/scan.jpg', `${'\0'.repeat(128)}DICM`), entry('/CD/gone', new Error('no permission'))])
  )
  expect(found.label).toBe('CD')
  expect(found.sources.map((each) => each.path)).toEqual([...many.map((_, index) => `CD/IM/${index}`), 'CD/scan.jpg'])
  expect(found.bytes).toBe(250 + 132)
  expect(found.leftOut.map((each) => each.path)).toEqual(['CD/DICOMDIR', 'CD/viewer.exe'])
  expect(found.unreadable).toEqual([{ path: 'CD/gone', reason: 'no permission' }])
})

test('keeps files of one name apart', async () => {
  const found = await collect({ path: 'a', file: new File(['1'], 'a') }, { path: 'a', file: new File(['2'], 'a') }, { path: 'b', file: new File([], 'b') })
  expect(found.sources.map((each) => each.path)).toEqual(['a', '2/a', 'b'])
  expect(found.label).toBe('a and 1 more')
})

test('looks into zip files', async () => {
  const packed = new File([await zip({ 'P/1.dcm': 'one', 'P/2.dcm': 'two', '../../up': 'x', '__MACOSX/._1': 'x' })], 'a.zip')
  const found = await collect({ path: 'a.zip', file: packed }, { path: 'b.zip', file: new File(['no zip file'], 'b.zip') }, { path: 'c.zip', file: new File([packed.slice(0, 50)], 'c.zip') })
  expect(found.sources.map((each) => [each.path, each.size])).toEqual([['a.zip/P/1.dcm', 3], ['a.zip/P/2.dcm', 3], ['a.zip/up', 1], ['b.zip', 11]])
  expect(await (await found.sources[1]!.open()).text()).toBe('two')
  expect(found.leftOut).toHaveLength(1)
  expect(found.unreadable.map((each) => each.path)).toEqual(['c.zip'])
})

test('looks into members of a zip file that only seem to be of another kind', async () => {
  const marked = `${'\0'.repeat(128)}DICM${'x'.repeat(500_000)}`
  const packed = await zip({ 'IM1.log': marked, 'viewer.exe': 'MZ', 'long.bmp': 'y'.repeat(500_000), 'empty.txt': '' })
  const found = await collect({ path: 'a.zip', file: new File([packed], 'a.zip') })
  expect(found.sources.map((each) => [each.path, each.size])).toEqual([['a.zip/IM1.log', 500_132]])
  expect(found.leftOut.map((each) => each.path)).toEqual(['a.zip/viewer.exe', 'a.zip/long.bmp', 'a.zip/empty.txt'])
  expect(found.unreadable).toEqual([])
  expect((await found.sources[0]!.open()).size).toBe(500_132)
  expect((await collect({ path: 'a\ud800', file: new File(['x'], 'a') })).label).toBe('a\ufffd')
})

test('says what of a zip file it cannot unpack', async () => {
  expect((await members(await zip({ a: 'x' }, 'secret')))[0]!.fault).toMatch(/encrypted/)
  const bytes = new Uint8Array(await (await zip({ a: 'y'.repeat(5000) })).arrayBuffer())
  bytes.fill(0x55, 40, 50)
  const [damaged] = await members(new Blob([bytes]))
  await expect(damaged!.open()).rejects.toThrow(/damaged/)
})

test.each([['a/b', 'a/b'], ['/a//b/', 'a/b'], ['../../a', 'a'], ['a\\b', 'a/b'], ['..', 'unnamed']])('%s becomes %s', (name, path) => {
  expect(cleanPath(name)).toBe(path)
})
