import { expect, test } from 'vitest'
import { ago, bytes, count, dicomDate, dicomTime, personName } from './format'

test('sizes are in decimal units with few digits', () => {
  expect([0, 999, 1000, 1536, 10_240, 526_000, 999_900, 110_000_000].map(bytes)).toEqual(['0 B', '999 B', '1.0 kB', '1.5 kB', '10.2 kB', '526 kB', '1.0 MB', '110 MB'])
})
test('counts agree with their noun', () => {
  expect([count(1, 'study', 'studies'), count(1200, 'study', 'studies'), count(0, 'file')]).toEqual(['1 study', '1,200 studies', '0 files'])
})
test('dates and times of DICOM are shown as people write them, others as they are', () => {
  expect([dicomDate('20240131'), dicomDate('2024.01.31'), dicomDate('2024'), dicomDate(undefined)]).toEqual(['2024-01-31', '2024-01-31', '2024', ''])
  expect([dicomTime('101502.5'), dicomTime('10')]).toEqual(['10:15', '10'])
})
test('person names keep every component and group', () => {
  expect(personName('Adams^John Robert Quincy^^Rev.^B.A. M.Div.')).toBe('Adams, Rev. John Robert Quincy B.A. M.Div.')
  expect(personName('Yamada^Tarou=山田^太郎=やまだ^たろう')).toBe('Yamada, Tarou (山田 太郎 / やまだ たろう)')
  expect(personName('^Madonna')).toBe('Madonna')
  expect(personName('')).toBe('')
})
test('times long past are told in days', () => {
  expect(ago(0, 86_400_000 * 3)).toBe('3 days ago')
})
