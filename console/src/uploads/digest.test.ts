import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { PIECE, digestOf } from './digest'

function expected(data: Uint8Array): string {
  const whole = createHash('sha256')
  for (let from = 0; from < data.length; from += PIECE) whole.update(createHash('sha256').update(data.subarray(from, from + PIECE)).digest())
  return whole.digest('hex')
}

test.each([0, 1, PIECE, PIECE + 1])('is that of the pieces of %i bytes, in memory or in a file', async (size) => {
  const data = new Uint8Array(size).map((_, index) => index % 251)
  expect(await digestOf(data.buffer)).toBe(expected(data))
  expect(await digestOf(new Blob([data]))).toBe(expected(data))
})
