// Who may take a role, in a person's words, and the trust policy that says so.

import type { OidcConfig } from '../../api/config'

export interface Trust {
  id: 'account' | 'user' | 'oidc' | 'service' | 'own'
  title: string
  says: string
}

export const TRUSTS: Trust[] = [
  { id: 'account', title: 'Everybody who has a key here', says: 'Whose own policy allows sts:AssumeRole on it.' },
  { id: 'user', title: 'One user', says: 'Named as in the list of keys.' },
  { id: 'oidc', title: 'People of the identity provider', says: 'Who sign in there, all or a group of them.' },
  { id: 'service', title: 'Imports', says: 'The server itself, when it reads and writes buckets for a job.' },
  { id: 'own', title: 'A trust policy of your own', says: 'IAM’s JSON.' }
]

/**
 * The trust policy in JSON; `name` is a user, or a group of the provider, "" for everybody of it. With `isNamed` people of the
 * provider take it under their own name only, by which versions, logs and events then call them.
 */
export function trustOf(id: Trust['id'], accountId: string, name: string, oidc: OidcConfig | null, isNamed = true): string {
  const provider = (oidc?.issuer ?? '').replace(/^https?:\/\//, '').replace(/\/$/, '')
  const statement = {
    account: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: `arn:aws:iam::${accountId}:root` } },
    user: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: `arn:aws:iam::${accountId}:user/${name}` } },
    oidc: {
      Effect: 'Allow',
      Action: 'sts:AssumeRoleWithWebIdentity',
      Principal: { Federated: `arn:aws:iam::${accountId}:oidc-provider/${provider}` },
      Condition: {
        StringEquals: { [`${provider}:aud`]: oidc?.clientId ?? '', ...(isNamed ? { 'sts:RoleSessionName': `\${${provider}:preferred_username}` } : {}) },
        ...(name === '' ? {} : { 'ForAnyValue:StringEquals': { [`${provider}:groups`]: [name] } })
      }
    },
    service: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'medical-imaging.amazonaws.com' }, Condition: { StringEquals: { 'aws:SourceAccount': accountId } } },
    own: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: `arn:aws:iam::${accountId}:root` } }
  }[id]
  return JSON.stringify({ Version: '2012-10-17', Statement: [statement] }, null, 2)
}

type Conditions = Record<string, Record<string, string | string[]>>

interface Statement {
  Effect?: string
  Action?: string | string[]
  Principal?: '*' | Record<string, string | string[]>
  Condition?: Conditions
}

/** Who a trust policy lets take the role, in a few words. */
export function trusted(text: string): string {
  let statements: Statement[]
  try {
    statements = [(JSON.parse(text) as { Statement: Statement | Statement[] }).Statement].flat()
  } catch {
    return 'what its policy says'
  }
  const allowed = statements.filter((each) => each.Effect !== 'Deny' && [each.Action ?? '*'].flat().some((action) => /^(\*|sts:(\*|assume))/i.test(action)))
  const names = allowed.flatMap(({ Principal: who, Condition }) => {
    const { groups, isBound } = limits(Condition ?? {})
    const bound = (name: string) => (isBound ? `${name}, under conditions` : name)
    if (who === undefined) return ['what its policy says']
    if (who === '*') return [bound('everybody')]
    return Object.entries(who).flatMap(([kind, values]) =>
      [values].flat().map((value) => {
        if (kind === 'Service') return bound(value === 'medical-imaging.amazonaws.com' ? 'imports' : value)
        const provider = value.split('oidc-provider/').pop() ?? value
        if (kind === 'Federated') return bound(groups.length > 0 ? `${groups.length === 1 ? 'group' : 'groups'} ${groups.join(' or ')} of ${provider}` : `people of ${provider}`)
        if (value === '*') return bound('everybody')
        if (/^\d{12}$/.test(value) || value.endsWith(':root')) return bound('everybody with a key')
        return bound(value.split(':').pop() ?? value)
      })
    )
  })
  const all = [...new Set(names)].join('; ') || 'nobody'
  return statements.some((each) => each.Effect === 'Deny') && allowed.length > 0 ? `${all}; some are denied` : all
}

/** What every role of its kind has, so that it tells nothing apart. */
const USUAL = /(:aud|^aws:SourceAccount|^sts:RoleSessionName)$/

/** The groups that conditions demand, and whether they demand anything else that makes fewer people take the role. */
function limits(conditions: Conditions): { groups: string[]; isBound: boolean } {
  const groups: string[] = []
  let isBound = false
  for (const [operator, keys] of Object.entries(conditions)) {
    for (const [key, values] of Object.entries(keys)) {
      if (key.endsWith(':groups') && groups.length === 0 && /^(ForAnyValue:)?StringEquals$/.test(operator)) groups.push(...[values].flat())
      else if (!(USUAL.test(key) && operator === 'StringEquals')) isBound = true
    }
  }
  return { groups, isBound }
}
