import { expect, test, vi } from 'vitest'

const order = vi.hoisted(() => [] as string[])
const asked = vi.hoisted(() => [] as unknown[])
vi.stubGlobal('location', { pathname: '/console/', origin: 'https://x' })
vi.stubGlobal('history', { replaceState: (_: unknown, __: string, address: string) => order.push(`address ${address}`) })
vi.mock('./session', () => ({ begin: async () => void order.push('begun'), end: async () => undefined, session: { value: null } }))
vi.mock('../api/sts', () => ({ assumeRoleWithWebIdentity: async (...given: unknown[]) => (asked.push(...given), { credentials: {}, arn: 'arn' }) }))
const { takeRole } = await import('./signIn')

test('whoever comes from the provider goes on where they were going', async () => {
  const identity = { token: 't', back: '/console/stores/a/sets/b', sessionName: 'ann', subject: 's', name: null, roles: [], isTruncated: false }
  await takeRole(identity, { arn: 'arn', name: 'Reader', maxSessionSeconds: 3600 })
  // The pages read the address when the session begins.
  // No longer than the role allows.
  expect(asked).toEqual(['arn', 'ann', 't', 3600])
  expect(order).toEqual(['address /console/stores/a/sets/b', 'begun'])
})
