import { expect, test } from 'vitest'
import { COMMON, answered, checks } from './common'

test('says yes only where both the data store and its image sets are allowed', () => {
  const [search, look] = [COMMON[0]!, COMMON[1]!]
  expect(checks(['a', 'b'], [search, look]).map((each) => each.resource)).toEqual(['a', 'a', 'a/imageset/*', 'b', 'b', 'b/imageset/*'])
  expect(answered(['a', 'b'], [search, look], [true, true, false, false, true, true])).toEqual([[true, false], [false, true]])
})
