import { expect, test } from 'vitest'
import { ceiling, paths } from './Plot'

test('ends the axis at a round number', () => {
  expect([0, 0.03, 1, 1.1, 3, 51, 999].map(ceiling)).toEqual([1, 0.05, 1, 2, 5, 100, 1000])
})

test('interrupts the line where nothing is known', () => {
  const points = [1, null, 2, 3].map((value, index) => ({ at: index * 1000, value }))
  const found = paths(points, 0, 3000, 5)
  expect(found).toHaveLength(2)
  expect(found[1]!.line).toMatch(/^M213\.3 .*L320 /)
})
