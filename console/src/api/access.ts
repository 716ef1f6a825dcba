// Keys, roles, authorizers and policies: the console's API of docs/reference/console-api.md.

import { call } from './consoleApi'

export interface Key {
  accessKeyId: string
  name: string
  arn: string
  isRoot: boolean
  isOwn: boolean
  createdAt: string
  expiresAt: string | null
  access: 'everything' | 'policies'
  policies: string[] | null
}

export interface Session {
  accessKeyId: string
  kind: 'link' | 'key' | 'role' | 'token'
  name: string
  provider: string | null
  subject: string | null
  isOwn: boolean
  createdAt: string
  expiresAt: string
}

export interface MadeKey {
  accessKeyId: string
  secretAccessKey: string
  name: string
  arn: string
  expiresAt: string | null
  warnings: string[]
}

export interface Role {
  name: string
  arn: string
  createdAt: string
  updatedAt: string
  /** Another number after each change. */
  revision: number
  trustPolicy: string | null
  policies: string[] | null
}

export interface Authorizer {
  arn: string
  kind: 'builtin' | 'http' | 'python' | 'missing'
  target: string | null
  createdAt: string | null
  updatedAt: string | null
  datastores: { datastoreId: string; name: string }[]
}

export interface Validity {
  isValid: boolean
  message: string | null
  warnings: string[]
}

export interface Decision {
  principal: string
  action: string
  resource: string
  allowed: boolean
  reason: string
  deciding: string | null
  statements: { statement: string; effect: 'Allow' | 'Deny'; applies: boolean; why: string }[]
}

export interface Question {
  action: string
  resource: string
  accessKeyId?: string
  roleName?: string
  policies?: string[]
  context?: { key: string; value: string }[]
}

/** `isCut`: there are more than these. */
export type Listed<T> = T[] & { isCut?: boolean }

/** Everything of a paged list, up to `most` items. */
async function all<T, P extends { nextToken: string | null }>(path: string, items: (page: P) => T[], signal?: AbortSignal, most = 5000): Promise<Listed<T>> {
  const found: Listed<T> = []
  let token: string | null = null
  do {
    const page: P = await call<P>(token === null ? path : `${path}?nextToken=${encodeURIComponent(token)}`, { signal })
    found.push(...items(page))
    token = page.nextToken
  } while (token !== null && found.length < most)
  found.isCut = token !== null
  return found
}

export const allKeys = (signal?: AbortSignal) => all<Key, { keys: Key[]; nextToken: string | null }>('keys', (page) => page.keys, signal)
export const createKey = (body: { name: string; policies?: string[]; isAdministrator?: boolean; expiresAt?: string }) => call<MadeKey>('keys', { body })
export const revokeKey = (id: string) => call<void>(`keys/${encodeURIComponent(id)}`, { method: 'DELETE' })

export const allSessions = (signal?: AbortSignal) =>
  all<Session, { sessions: Session[]; nextToken: string | null }>('sessions', (page) => page.sessions, signal, 1000)
export const endSession = (id: string) => call<void>(`sessions/${encodeURIComponent(id)}`, { method: 'DELETE' })

export const allRoles = (signal?: AbortSignal) => all<Role, { roles: Role[]; nextToken: string | null }>('roles', (page) => page.roles, signal)
/** `revision` is that of the role as it was seen, 0 for a new one; refused with 409 if it is another by now. */
export const putRole = (name: string, body: { trustPolicy: string; policies: string[]; revision: number }) =>
  call<{ arn: string; warnings: string[] }>(`roles/${encodeURIComponent(name)}`, { method: 'PUT', body })
export const deleteRole = (name: string) => call<void>(`roles/${encodeURIComponent(name)}`, { method: 'DELETE' })

export const listAuthorizers = async (signal?: AbortSignal) => (await call<{ authorizers: Authorizer[] }>('authorizers', { signal })).authorizers
export const putAuthorizer = (arn: string, target: string, isNew = false) => call<void>('authorizers', { body: { arn, target, isNew } })
export const deleteAuthorizer = (arn: string) => call<void>('authorizers/delete', { body: { arn } })

export const validatePolicy = (policy: string, kind: 'identity' | 'trust', signal?: AbortSignal) =>
  call<Validity>('policies/validate', { body: { policy, kind }, signal })
export const listActions = async (signal?: AbortSignal) => (await call<{ actions: string[] }>('policies/actions', { signal })).actions
export const simulatePolicy = async (subject: Pick<Question, 'accessKeyId' | 'roleName' | 'policies'>, checks: { action: string; resource: string }[], signal?: AbortSignal) =>
  (await call<{ allowed: boolean[] }>('policies/simulate', { body: { ...subject, checks }, signal })).allowed
export const explainPolicy = (question: Question) => call<Decision>('policies/explain', { body: question })
