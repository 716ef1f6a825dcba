// The three ways in: an access key, an identity provider (code flow with PKCE), and a one-time link.

import { type Credentials, begin, end, session } from './session'
import { signingKey } from './signing'
import { call } from '../api/consoleApi'
import { config } from '../api/config'
import { ApiError, explain } from '../api/errors'
import { json, unsigned } from '../api/request'
import { assumeRoleWithWebIdentity, getCallerIdentity, getSessionToken } from '../api/sts'

const SESSION_SECONDS = 43_200

/** The secret is used once, to get temporary credentials, and forgotten. */
export async function signInByKey(accessKeyId: string, secretAccessKey: string, sessionToken?: string): Promise<void> {
  const key = await signingKey(accessKeyId, secretAccessKey, sessionToken)
  const arn = await getCallerIdentity(key).catch((error: unknown) => {
    throw forPeople(error)
  })
  if (sessionToken !== undefined) {
    await begin({ accessKeyId, secretAccessKey, sessionToken }, arn, { keep: false })
    return
  }
  await begin(await getSessionToken(key, SESSION_SECONDS), arn, { keep: true })
}

/** What STS refuses, in words for whoever has just typed a key. */
function forPeople(error: unknown): unknown {
  if (!(error instanceof ApiError)) return error
  if (error.code === 'InvalidClientTokenId') return new ApiError(error.status, error.code, 'This server has no such access key. Check its ID, or ask who gave you the key.', error.requestId)
  if (error.code === 'SignatureDoesNotMatch') return new ApiError(error.status, error.code, 'The secret access key does not belong to this access key ID.', error.requestId)
  return error
}

/** The token of `#link=…`, taken out of the address so that it stands in no history; null if there is none. */
export function takeLink(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get('link')
  if (token !== null) history.replaceState(null, '', location.pathname + location.search)
  return token
}

/** A link that is put into the address of a page that is there already changes the fragment only, and loads nothing. */
export function listenToLinks(): void {
  window.addEventListener('hashchange', () => {
    if (new URLSearchParams(location.hash.slice(1)).has('link')) location.reload()
  })
}

export async function signInByLink(token: string): Promise<void> {
  const response = await unsigned('/console/api/link', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token })
  })
  const credentials = (await response.json()) as Credentials
  const key = await signingKey(credentials.accessKeyId, credentials.secretAccessKey, credentials.sessionToken)
  await begin(credentials, await getCallerIdentity(key), { keep: true })
}

export async function signOut(): Promise<void> {
  const ending = session.value
  if (ending === null) return
  let reason: string | null = null
  try {
    await call('sign-out', { body: {} })
  } catch (error) {
    reason = `You are signed out here, but the server could not end the session, which holds until it expires: ${explain(error)}`
  }
  // It may have ended by itself, or another one begun.
  if (session.value === ending) await end(reason)
}

// --- OpenID Connect -------------------------------------------------------------------------------------------

const FLOW = 'lightwell-oidc'
export const CALLBACK = '/console/callback'

interface Flow {
  state: string
  nonce: string
  verifier: string
  /** Where the person wanted to go; the console's own addresses name nobody. */
  back: string
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
}

function random(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(32)))
}

/** Go to the identity provider (RFC 6749 §4.1, RFC 7636). */
export async function beginOidc(): Promise<void> {
  const { oidc } = config.value
  if (!oidc?.authorizationEndpoint) throw new ApiError(0, 'NoProvider', 'The identity provider cannot be reached at the moment.')
  const isOwn = location.pathname === CALLBACK
  const flow: Flow = { state: random(), nonce: random(), verifier: random(), back: isOwn ? '/console/' : location.pathname }
  sessionStorage.setItem(FLOW, JSON.stringify(flow))
  const challenge = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(flow.verifier))
  const target = new URL(oidc.authorizationEndpoint)
  const values = {
    response_type: 'code',
    client_id: oidc.clientId,
    redirect_uri: location.origin + CALLBACK,
    scope: oidc.scope,
    state: flow.state,
    nonce: flow.nonce,
    code_challenge: base64url(new Uint8Array(challenge)),
    code_challenge_method: 'S256'
  }
  for (const [name, value] of Object.entries(values)) target.searchParams.set(name, value)
  location.assign(target)
}

export interface OfferedRole {
  arn: string
  name: string
  /** What no older server of an upgrade knows. */
  maxSessionSeconds?: number
}

export interface OidcIdentity {
  token: string
  roles: OfferedRole[]
  sessionName: string
  subject: string
  name: string | null
  back: string
}

/** What came back from the provider, if this is its redirect: who it is, and the roles that trust them. */
export async function finishOidc(): Promise<OidcIdentity | null> {
  if (location.pathname !== CALLBACK) return null
  const answer = new URLSearchParams(location.search)
  const saved = sessionStorage.getItem(FLOW)
  sessionStorage.removeItem(FLOW)
  history.replaceState(null, '', '/console/')
  if (saved === null) throw new ApiError(0, 'OidcFlow', 'This sign-in was begun in another tab, or twice. Begin again.')
  const flow = JSON.parse(saved) as Flow
  if (answer.get('state') !== flow.state) throw new ApiError(0, 'OidcFlow', 'The answer belongs to another sign-in. Begin again.')
  const { oidc } = config.value
  const issuer = answer.get('iss')
  if (!oidc?.tokenEndpoint || (issuer !== null && issuer !== oidc.issuer)) {
    throw new ApiError(0, 'OidcFlow', 'The answer came from another identity provider. Begin again.')
  }
  const refused = answer.get('error')
  if (refused !== null) throw new ApiError(0, refused, answer.get('error_description') ?? `The identity provider refused: ${refused}`)
  const code = answer.get('code')
  if (code === null) throw new ApiError(0, 'OidcFlow', 'The identity provider sent no code. Begin again.')
  const token = await exchange(oidc.tokenEndpoint, oidc.clientId, code, flow.verifier)
  if (nonceOf(token) !== flow.nonce) throw new ApiError(0, 'OidcFlow', 'The token belongs to another sign-in. Begin again.')
  const response = await unsigned('/console/api/oidc/roles', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token })
  })
  return { ...((await response.json()) as Omit<OidcIdentity, 'token' | 'back'>), token, back: flow.back }
}

export async function takeRole(identity: OidcIdentity, role: OfferedRole): Promise<void> {
  const { credentials, arn } = await assumeRoleWithWebIdentity(role.arn, identity.sessionName, identity.token, role.maxSessionSeconds ?? 43_200)
  // First: the pages read the address as soon as the session has begun.
  if (identity.back !== location.pathname) history.replaceState(null, '', identity.back)
  await begin(credentials, arn, { keep: true })
}

async function exchange(endpoint: string, clientId: string, code: string, verifier: string): Promise<string> {
  const body = new URLSearchParams({
    grant_type: 'authorization_code',
    code,
    redirect_uri: location.origin + CALLBACK,
    client_id: clientId,
    code_verifier: verifier
  })
  let response: Response
  try {
    response = await fetch(endpoint, { method: 'POST', body, credentials: 'omit', referrerPolicy: 'no-referrer' })
  } catch {
    throw new ApiError(0, 'OidcProvider', 'The identity provider does not answer, or does not allow this origin (CORS). Its administrator has to.')
  }
  const found = (await response.json().catch(() => ({}))) as { id_token?: string; error?: string; error_description?: string }
  if (!response.ok || !found.id_token) {
    throw new ApiError(response.status, found.error ?? 'OidcProvider', found.error_description ?? 'The identity provider gave no token. Begin again.')
  }
  return found.id_token
}

function nonceOf(token: string): unknown {
  try {
    const payload = atob((token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/'))
    return (JSON.parse(payload) as { nonce?: unknown }).nonce
  } catch {
    return undefined
  }
}

/** A token for OHIF that stands for this session, for one data store's DICOMweb alone. */
export function viewerToken(datastoreId: string): Promise<{ token: string; expiresAt: string }> {
  return json(`/console/api/datastores/${datastoreId}/viewer-token`, { json: {} })
}
