import { expect, test } from 'vitest'
import { TRUSTS, trustOf, trusted } from './templates'

const oidc = { issuer: 'https://id.example/realms/x', clientId: 'console', scope: 'openid', authorizationEndpoint: null, tokenEndpoint: null }

test('says in words whom its trust policies trust', () => {
  const words = Object.fromEntries(TRUSTS.map(({ id }) => [id, trusted(trustOf(id, '000000000000', 'anna', oidc))]))
  expect(words).toEqual({ account: 'everybody with a key', user: 'user/anna', oidc: 'group anna of id.example/realms/x', service: 'imports', own: 'everybody with a key' })
  expect(trusted('x')).toBe('what its policy says')
  expect(trusted('{"Statement": {"Principal": "*"}}')).toBe('everybody')
})

test('trusts a group of the provider only where one is named', () => {
  expect(trustOf('oidc', '000000000000', '', oidc)).not.toContain('groups')
  const policy = JSON.parse(trustOf('oidc', '000000000000', 'radiology', oidc)) as { Statement: [{ Condition: object }] }
  expect(policy.Statement[0].Condition).toEqual({
    StringEquals: { 'id.example/realms/x:aud': 'console', 'sts:RoleSessionName': '${id.example/realms/x:preferred_username}' },
    'ForAnyValue:StringEquals': { 'id.example/realms/x:groups': ['radiology'] }
  })
})

test('lets people of the provider choose no name for their sessions, unless that is asked for', () => {
  expect(trustOf('oidc', '000000000000', '', oidc)).toContain('sts:RoleSessionName')
  expect(trustOf('oidc', '000000000000', '', oidc, false)).not.toContain('sts:RoleSessionName')
})

test('tells a role for some from one for everybody', () => {
  expect(trusted(trustOf('oidc', '000000000000', 'radiology', oidc))).toBe('group radiology of id.example/realms/x')
  const federated = { Effect: 'Allow', Action: 'sts:AssumeRoleWithWebIdentity', Principal: { Federated: 'arn:aws:iam::0:oidc-provider/p' } }
  const words = (...statements: object[]) => trusted(JSON.stringify({ Statement: statements }))
  expect(words({ ...federated, Condition: { StringEquals: { 'p:groups': ['a', 'b'] } } })).toBe('groups a or b of p')
  expect(words({ ...federated, Condition: { StringLike: { 'p:groups': 'a*' } } })).toBe('people of p, under conditions')
  expect(words({ ...federated, Condition: { StringEquals: { 'p:aud': 'x', 'p:sub': 'ann' } } })).toBe('people of p, under conditions')
  expect(words({ ...federated, Effect: 'Deny' })).toBe('nobody')
  expect(words(federated, { Effect: 'Deny', Action: 'sts:*', Principal: { AWS: 'arn:aws:iam::000000000000:user/bob' } })).toBe('people of p; some are denied')
  expect(words({ ...federated, Action: 'sts:TagSession' })).toBe('nobody')
  expect(words({ Effect: 'Allow', Action: 'sts:AssumeRole', NotPrincipal: { AWS: '1' } })).toBe('what its policy says')
})
