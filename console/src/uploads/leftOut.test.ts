import { expect, test } from 'vitest'
import { hasMark, isOtherKind, reasonByName } from './leftOut'

test.each(['.DS_Store', 'a/Thumbs.db', 'a/b/desktop.ini', '__MACOSX/a/._1.dcm', 'CD/DICOMDIR', 'a/._IM1', '$RECYCLE.BIN/x'])('%s is left out', (path) => {
  expect(reasonByName(path)).not.toBeNull()
})

test.each(['IM0001', 'a/1.dcm', 'a/DICOMDIR/1', 'my.desktop.ini.dcm', 'a/1.2.840.113', 'DS_Store'])('%s is sent', (path) => {
  expect(reasonByName(path)).toBeNull()
  expect(isOtherKind(path)).toBe(false)
})

test('a file is of another kind by its name and by what is in it', async () => {
  expect(isOtherKind('viewer/start.EXE')).toBe(true)
  expect(await hasMark(new Blob(['MZ'.padEnd(500)]))).toBe(false)
  expect(await hasMark(new Blob(['\0'.repeat(128), 'DICM', 'rest']))).toBe(true)
  expect(await hasMark(new Blob([]))).toBe(false)
})
