import { expect, test } from 'vitest'
import { changes, fault, rowsOf, tagsOf } from './tags'

test('only what differs is sent', () => {
  const before = { a: '1', b: '2', c: '3' }
  expect(changes(before, [{ key: 'a', value: '1' }, { key: 'b', value: 'x' }, { key: 'd', value: '' }, { key: '', value: '' }])).toEqual({ put: { b: 'x', d: '' }, remove: ['c'] })
  expect(changes(before, rowsOf(before))).toEqual({ put: {}, remove: [] })
})
test('what the server would refuse is said before', () => {
  const faults = (rows: [string, string][]) => rows.map(([key, value]) => fault({ key, value }, rows.map(([key, value]) => ({ key, value }))) !== null)
  expect(faults([['Trial', '7'], ['aws:x', ''], ['a b', ''], ['', 'x'], ['', ''], ['twice', ''], ['twice', ''], ['long', 'x'.repeat(257)]])).toEqual([false, true, true, true, false, true, true, true])
})
test('rows without a key are no tags', () => {
  expect(tagsOf([{ key: 'b', value: '1' }, { key: '', value: '' }])).toEqual({ b: '1' })
})
