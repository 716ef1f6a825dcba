import { beforeEach, expect, test, vi } from 'vitest'
import { type Session, session } from '../session/session'
import { onceElsewhere } from './elsewhere'

const of = (accessKeyId: string) => ({ accessKeyId, arn: accessKeyId }) as Session

beforeEach(() => {
  vi.stubGlobal('window', new EventTarget())
  session.value = of('ASIAALICE')
})

test('the way back leaves a question, once', () => {
  const left = vi.fn()
  onceElsewhere(left)
  expect(left).not.toHaveBeenCalled()
  window.dispatchEvent(new Event('popstate'))
  window.dispatchEvent(new Event('popstate'))
  expect(left.mock.calls).toEqual([[true]])
})
test('the end of a session leaves it, and so does another person', () => {
  for (const next of [null, of('ASIABOB')]) {
    session.value = of('ASIAALICE')
    const left = vi.fn()
    onceElsewhere(left)
    session.value = next
    session.value = null
    expect(left.mock.calls).toEqual([[false]])
  }
})
test('what was answered hears of nothing', () => {
  const left = vi.fn()
  onceElsewhere(left)()
  session.value = null
  window.dispatchEvent(new Event('popstate'))
  expect(left).not.toHaveBeenCalled()
})
