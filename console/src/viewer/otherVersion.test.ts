import { expect, test } from 'vitest'
import { OfOtherVersion, isOfFrame } from './otherVersion'

test('an answer is of a frame if its tag names the key of the pixels and the number', () => {
  const id = '00000000000001af0000000900000000'
  expect(isOfFrame('"1af-1-10"', id)).toBe(true)
  expect(isOfFrame('W/"1af-1-10"', id)).toBe(true)
  expect(isOfFrame('"1af-1-9"', id)).toBe(false)
  expect(isOfFrame('"1b0-1-10"', id)).toBe(false)
})

test('without such a tag nothing is known of an answer', () => {
  for (const tag of [null, '', '"0123456789abcdef"', '"1af-1-10,11"']) expect(isOfFrame(tag, '00000000000001af0000000900000000')).toBe(undefined)
  expect(isOfFrame('"1af-1-10"', undefined)).toBe(undefined)
})

test('what is of another version says what to do', () => {
  expect(new OfOtherVersion('document', '2').message).toContain('version 2 may have had another')
  expect(new OfOtherVersion('frame', undefined).message).toContain('Load the page again')
})
