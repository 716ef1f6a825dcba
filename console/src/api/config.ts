import { signal } from '@preact/signals'

export interface OidcConfig {
  issuer: string
  clientId: string
  scope: string
  authorizationEndpoint: string | null
  tokenEndpoint: string | null
  endSessionEndpoint?: string | null
  /** Why the endpoints are missing. */
  message?: string
}

/** What the server says to everybody: GET /console/api/config. */
export interface ServerConfig {
  version: string
  region: string
  accountId: string
  oidc: OidcConfig | null
  ohif: boolean
}

export const config = signal<ServerConfig>({ version: '', region: 'us-east-1', accountId: '000000000000', oidc: null, ohif: false })
