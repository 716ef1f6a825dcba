// AWS HealthImaging's own operations, as its SDKs call them. Add what a page needs, named as the API names it.

import { json, request } from './request'

export interface DatastoreSummary {
  datastoreId: string
  datastoreName?: string
  datastoreStatus: string
  datastoreArn?: string
  createdAt?: number
  updatedAt?: number
}

export interface DatastoreProperties extends DatastoreSummary {
  kmsKeyArn?: string
  lambdaAuthorizerArn?: string
  losslessStorageFormat?: string
}

interface Page {
  nextToken?: string
}

function query(values: Record<string, string | number | undefined>): string {
  const found = Object.entries(values).filter(([, value]) => value !== undefined)
  return found.length === 0 ? '' : `?${new URLSearchParams(found.map(([name, value]) => [name, String(value)]))}`
}

export function listDatastores(options: { nextToken?: string; maxResults?: number; signal?: AbortSignal } = {}) {
  const { signal, ...rest } = options
  return json<{ datastoreSummaries: DatastoreSummary[] } & Page>(`/datastore${query(rest)}`, { signal })
}

/** All data stores, page by page, up to a thousand. */
export async function allDatastores(signal?: AbortSignal): Promise<DatastoreSummary[]> {
  const found: DatastoreSummary[] = []
  let nextToken: string | undefined
  do {
    const page = await listDatastores({ nextToken, maxResults: 50, signal })
    found.push(...page.datastoreSummaries)
    nextToken = page.nextToken
  } while (nextToken !== undefined && found.length < 1000)
  return found
}

export async function getDatastore(datastoreId: string, signal?: AbortSignal): Promise<DatastoreProperties> {
  return (await json<{ datastoreProperties: DatastoreProperties }>(`/datastore/${datastoreId}`, { signal })).datastoreProperties
}

export function createDatastore(datastoreName: string, tags: Record<string, string> = {}) {
  return json<{ datastoreId: string; datastoreStatus: string }>('/datastore', {
    json: { datastoreName, tags, clientToken: crypto.randomUUID() }
  })
}

export function deleteDatastore(datastoreId: string) {
  return json<{ datastoreId: string; datastoreStatus: string }>(`/datastore/${datastoreId}`, { method: 'DELETE' })
}

/** The metadata document of an image set, of its newest version unless one is named. */
export async function getImageSetMetadata(datastoreId: string, imageSetId: string, versionId?: string, signal?: AbortSignal): Promise<unknown> {
  const path = `/datastore/${datastoreId}/imageSet/${imageSetId}/getImageSetMetadata${query({ version: versionId })}`
  const response = await request(path, { method: 'POST', signal })
  // The browser has inflated it: the answer says Content-Encoding: gzip.
  return (await response.json()) as unknown
}
