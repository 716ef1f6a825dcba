// What AWS's API lacks: /console/api. One function per route; see docs/reference/console-api.md.

import { type ServerConfig, config } from './config'
import { json, unsigned } from './request'

const ROOT = '/console/api'

export async function loadConfig(): Promise<void> {
  config.value = (await (await unsigned(`${ROOT}/config`)).json()) as ServerConfig
}

export interface Me {
  arn: string
  kind: string
  name: string
  accessKeyId: string
  expiration: string | null
  accountId: string
  region: string
}

export const me = () => json<Me>(`${ROOT}/me`)

/** A call of the console's API: GET, or POST of `body`. */
export function call<T>(path: string, options: { body?: unknown; method?: string; signal?: AbortSignal } = {}): Promise<T> {
  return json<T>(`${ROOT}/${path}`, { json: options.body, method: options.method, signal: options.signal })
}

export interface Check {
  action: string
  resource: string
}

export async function allowed(checks: Check[]): Promise<boolean[]> {
  return (await call<{ allowed: boolean[] }>('allowed', { body: { checks } })).allowed
}

export interface Usage {
  imageSets: number
  studies: number
  instances: number
  frames: number
  packBytes: number
  originalBytes: number
  isEstimated: boolean
}

export const usage = (datastoreId: string, signal?: AbortSignal) => call<Usage>(`datastores/${datastoreId}/usage`, { signal })
