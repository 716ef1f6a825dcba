// What AWS's API lacks: /console/api. One function per route; see docs/reference/console-api.md.

import { type ServerConfig, config } from './config'
import { ApiError, ChangedMeanwhile } from './errors'
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

/**
 * Deletes an image set while `versionId`, in which a person has seen it, is its latest version. Raises `ChangedMeanwhile` once it
 * has another one, so that nothing goes unseen: AWS's DeleteImageSet names no version, and deletes whatever is there by then.
 */
export async function deleteSeenImageSet(datastoreId: string, imageSetId: string, versionId: string): Promise<void> {
  try {
    await call(`datastores/${datastoreId}/imagesets/${imageSetId}?${new URLSearchParams({ latestVersionId: versionId })}`, { method: 'DELETE' })
  } catch (error) {
    throw error instanceof ApiError && error.status === 409 ? new ChangedMeanwhile(error.message) : error
  }
}
