import { expect, test } from 'vitest'
import { RecentRate, timeLeft } from './rate'

test('tells nothing at first, and then how long it will take', () => {
  const rate = new RecentRate()
  rate.add(0, 0)
  rate.add(10, 1000)
  expect(rate.secondsLeft(100)).toBeNull()
  rate.add(50, 5000)
  expect(rate.perSecond).toBe(10)
  expect(rate.secondsLeft(100)).toBe(5)
  expect(rate.secondsLeft(50)).toBeNull()
  rate.add(5, 6000)
  expect(rate.secondsLeft(100)).toBeNull()
})

test('says it as coarsely as it knows it', () => {
  expect([null, 3, 44, 130, 7200, 400_000].map(timeLeft)).toEqual(['', 'about 10 s left', 'about 40 s left', 'about 2 min left', 'about 2 h left', 'about 5 days left'])
})
