import { expect, test } from 'vitest'
import { TRUSTS, trustOf, trusted } from './templates'

const oidc = { issuer: 'https://id.example/realms/x', clientId: 'console', scope: 'openid', authorizationEndpoint: null, tokenEndpoint: null }

test('says in words whom its trust policies trust', () => {
  const words = Object.fromEntries(TRUSTS.map(({ id }) => [id, trusted(trustOf(id, '000000000000', 'anna', oidc))]))
  expect(words).toEqual({ account: 'everybody with a key', user: 'user/anna', oidc: 'people of id.example/realms/x', service: 'imports', own: 'everybody with a key' })
  expect(trusted('x')).toBe('what its policy says')
  expect(trusted('{"Statement": {"Principal": "*"}}')).toBe('everybody')
})

test('trusts a group of the provider only where one is named', () => {
  expect(trustOf('oidc', '000000000000', '', oidc)).not.toContain('groups')
  const policy = JSON.parse(trustOf('oidc', '000000000000', 'radiology', oidc)) as { Statement: [{ Condition: object }] }
  expect(policy.Statement[0].Condition).toEqual({
    StringEquals: { 'id.example/realms/x:aud': 'console' },
    'ForAnyValue:StringEquals': { 'id.example/realms/x:groups': ['radiology'] }
  })
})
