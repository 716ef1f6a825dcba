import { expect, test } from 'vitest'
import { NAME, TEMPLATES, exports, honest, policyOf, storesOf, summary } from './templates'

const ID = '0123456789abcdef0123456789abcdef'
const place = { region: 'us-east-1', accountId: '000000000000', datastoreId: ID }

test('a template of one data store names no other', () => {
  for (const { id, isOfStore } of TEMPLATES) {
    if (!isOfStore) continue
    const policy = JSON.parse(policyOf(id, place)) as { Statement: { Action: string | string[]; Effect: string; Resource: string | string[] }[] }
    for (const { Action, Effect, Resource } of policy.Statement) {
      const isOfAll = Action === 'medical-imaging:ListDatastores' || Effect === 'Deny'
      if (!isOfAll) expect([Resource].flat().every((each) => each.includes(ID))).toBe(true)
    }
    expect(storesOf([policyOf(id, place)])).toEqual([ID])
    expect(storesOf([policyOf(id, { ...place, datastoreId: null })])).toEqual([])
  }
})

test('a viewer changes nothing', () => {
  const allowed = JSON.stringify(JSON.parse(policyOf('viewer', place)))
  for (const verb of ['Update', 'Delete', 'Copy', 'Start', 'Store', 'Create', 'Tag', ':*']) expect(allowed).not.toContain(`medical-imaging:${verb}`)
})

test('says what policies are', () => {
  for (const { id, title } of TEMPLATES.filter((each) => each.id !== 'own')) {
    expect(summary([policyOf(id, place)], place)).toBe(title)
    expect(summary([policyOf(id, { ...place, datastoreId: null })], place)).toBe(title)
  }
  expect(summary([policyOf('own', place)], place)).toBe('1 statement')
  expect(summary(['x', '{"Statement": [1, 2]}'], place)).toBe('3 statements')
})

test('believes no title of a policy that allows something else', () => {
  const policy = JSON.parse(policyOf('viewer', place)) as { Id?: string; Statement: { Action: string[] }[] }
  policy.Statement[1]!.Action = ['medical-imaging:*']
  expect(summary([JSON.stringify(policy)], place)).toBe('2 statements')
  expect(summary(['{"Id": "Viewer", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'], place)).toBe('1 statement')
  expect(JSON.parse(honest(JSON.stringify(policy), place))).toEqual({ Version: '2012-10-17', Statement: policy.Statement })
})

test('keeps what a policy says of itself where it is true, or no title of a template', () => {
  for (const text of [policyOf('viewer', place), '{"Id": "mine", "Statement": []}', 'x', '[]']) expect(honest(text, place)).toBe(text)
})

test('writes lines that a shell takes as they are', () => {
  const lines = exports({ accessKeyId: 'AKLW', secretAccessKey: 'a/b+c' }, 'us-east-1', 'http://127.0.0.1:8085')
  expect(lines).toContain("export AWS_SECRET_ACCESS_KEY='a/b+c'\n")
  expect(lines).toContain("export AWS_ENDPOINT_URL_MEDICAL_IMAGING='http://127.0.0.1:8085'\n")
})

test('takes names as the server does', () => {
  expect(NAME.test('anna.smith@clinic')).toBe(true)
  expect(NAME.test('Anna Smith')).toBe(false)
  expect(NAME.test('')).toBe(false)
})
