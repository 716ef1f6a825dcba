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

/** The trust policy in JSON; `name` is a user, or a group of the provider, "" for everybody of it. */
export function trustOf(id: Trust['id'], accountId: string, name: string, oidc: OidcConfig | null): string {
  const provider = (oidc?.issuer ?? '').replace(/^https?:\/\//, '').replace(/\/$/, '')
  const statement = {
    account: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: `arn:aws:iam::${accountId}:root` } },
    user: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: `arn:aws:iam::${accountId}:user/${name}` } },
    oidc: {
      Effect: 'Allow',
      Action: 'sts:AssumeRoleWithWebIdentity',
      Principal: { Federated: `arn:aws:iam::${accountId}:oidc-provider/${provider}` },
      Condition: {
        StringEquals: { [`${provider}:aud`]: oidc?.clientId ?? '' },
        ...(name === '' ? {} : { 'ForAnyValue:StringEquals': { [`${provider}:groups`]: [name] } })
      }
    },
    service: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'medical-imaging.amazonaws.com' }, Condition: { StringEquals: { 'aws:SourceAccount': accountId } } },
    own: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: `arn:aws:iam::${accountId}:root` } }
  }[id]
  return JSON.stringify({ Version: '2012-10-17', Statement: [statement] }, null, 2)
}

/** Who a trust policy lets take the role, in a few words. */
export function trusted(text: string): string {
  interface Statement { Principal?: '*' | Record<string, string | string[]> }
  let statements: Statement[]
  try {
    statements = [(JSON.parse(text) as { Statement: Statement | Statement[] }).Statement].flat()
  } catch {
    return 'what its policy says'
  }
  const names = statements.flatMap(({ Principal: who }) => {
    if (who === '*') return ['everybody']
    return Object.entries(who ?? {}).flatMap(([kind, values]) =>
      [values].flat().map((value) => {
        if (kind === 'Service') return value === 'medical-imaging.amazonaws.com' ? 'imports' : value
        if (kind === 'Federated') return `people of ${value.split('oidc-provider/').pop() ?? value}`
        if (/^\d{12}$/.test(value) || value.endsWith(':root')) return 'everybody with a key'
        return value.split(':').pop() ?? value
      })
    )
  })
  return [...new Set(names)].join(', ')
}
