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

export interface NewDatastore {
  datastoreName: string
  tags?: Record<string, string>
  lambdaAuthorizerArn?: string
  losslessStorageFormat?: string
}

export function createDatastore(asked: NewDatastore) {
  return json<{ datastoreId: string; datastoreStatus: string }>('/datastore', { json: { ...asked, clientToken: crypto.randomUUID() } })
}

export function deleteDatastore(datastoreId: string) {
  return json<{ datastoreId: string; datastoreStatus: string }>(`/datastore/${datastoreId}`, { method: 'DELETE' })
}

/** The metadata document of an image set, of its newest version unless one is named. Browsers unpack its gzip themselves. */
export async function getImageSetMetadata(datastoreId: string, imageSetId: string, versionId?: string, signal?: AbortSignal): Promise<unknown> {
  const path = `/datastore/${datastoreId}/imageSet/${imageSetId}/getImageSetMetadata${query({ version: versionId })}`
  const response = await request(path, { method: 'POST', signal })
  // The browser has inflated it: the answer says Content-Encoding: gzip.
  return (await response.json()) as unknown
}

export interface ImageSetProperties {
  datastoreId: string
  imageSetId: string
  versionId: string
  imageSetState: string
  imageSetWorkflowStatus?: string
  createdAt?: number
  updatedAt?: number
  deletedAt?: number
  message?: string
  imageSetArn?: string
  isPrimary?: boolean
  lastAccessedAt?: number
  storageTier?: string
  overrides?: { forced?: boolean }
}

const imageSetPath = (datastoreId: string, imageSetId: string) => `/datastore/${datastoreId}/imageSet/${imageSetId}`

export function getImageSet(datastoreId: string, imageSetId: string, options: { versionId?: string; signal?: AbortSignal } = {}) {
  return json<ImageSetProperties>(`${imageSetPath(datastoreId, imageSetId)}/getImageSet${query({ version: options.versionId })}`, { method: 'POST', signal: options.signal })
}

export type MetadataUpdates = { DICOMUpdates: { updatableAttributes?: string; removableAttributes?: string } } | { revertToVersionId: string }

/** A new version of an image set; attributes in base64 of JSON. The answer is LOCKED: see `untilUnlocked`. */
export function updateImageSetMetadata(datastoreId: string, imageSetId: string, latestVersion: string, updates: MetadataUpdates, options: { force?: boolean; includeStudyImageSets?: boolean } = {}) {
  const values = { latestVersion, force: options.force ? 'true' : undefined, includeStudyImageSets: options.includeStudyImageSets ? 'true' : undefined }
  return json<{ imageSetId: string; latestVersionId: string; imageSetState: string; imageSetWorkflowStatus?: string }>(`${imageSetPath(datastoreId, imageSetId)}/updateImageSetMetadata${query(values)}`, { json: updates })
}

export interface CopyRequest {
  sourceImageSet: { latestVersionId: string; DICOMCopies?: { copiableAttributes: string } }
  destinationImageSet?: { imageSetId: string; latestVersionId: string }
}

interface CopyProperties {
  imageSetId: string
  latestVersionId: string
  imageSetState?: string
  imageSetWorkflowStatus?: string
}

/** A copy of all or some instances, into a new image set, an existing one, or with `promoteToPrimary` the primary one. */
export function copyImageSet(datastoreId: string, sourceImageSetId: string, request: CopyRequest, options: { force?: boolean; promoteToPrimary?: boolean } = {}) {
  const values = { force: options.force ? 'true' : undefined, promoteToPrimary: options.promoteToPrimary ? 'true' : undefined }
  return json<{ sourceImageSetProperties: CopyProperties; destinationImageSetProperties: CopyProperties }>(`${imageSetPath(datastoreId, sourceImageSetId)}/copyImageSet${query(values)}`, { json: request })
}

/** The image set once nothing changes it any more: asked again, less and less often, for at most `seconds`. Throws if something then still does. */
export async function untilUnlocked(datastoreId: string, imageSetId: string, seconds = 120): Promise<ImageSetProperties> {
  const end = Date.now() + seconds * 1000
  for (let pause = 200; ; pause = Math.min(pause * 1.6, 5000)) {
    const found = await getImageSet(datastoreId, imageSetId)
    if (found.imageSetState !== 'LOCKED') return found
    if (Date.now() > end) throw new Error('The server is still working on it. Look again later before you repeat it: it may yet succeed.')
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
}

export async function listTagsForResource(resourceArn: string, signal?: AbortSignal): Promise<Record<string, string>> {
  return (await json<{ tags: Record<string, string> }>(`/tags/${encodeURIComponent(resourceArn)}`, { signal })).tags
}

export function tagResource(resourceArn: string, tags: Record<string, string>) {
  return json<object>(`/tags/${encodeURIComponent(resourceArn)}`, { json: { tags } })
}

export function untagResource(resourceArn: string, tagKeys: string[]) {
  return json<object>(`/tags/${encodeURIComponent(resourceArn)}?${new URLSearchParams(tagKeys.map((key) => ['tagKeys', key]))}`, { method: 'DELETE' })
}
