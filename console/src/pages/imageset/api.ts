// What the console's API says of an image set; see docs/reference/console-api.md.

import { call } from '../../api/consoleApi'
import type { ElementDiff, InstanceDiff, LevelDiff } from './diff'
import type { Blobs } from './edits'

export interface Overview {
  datastoreId: string
  imageSetId: string
  versionId: string
  latestVersionId: string
  isPrimary: boolean
  createdAt: string
  updatedAt: string
  lastAccessedAt: string
  patient: Record<string, unknown>
  study: Record<string, unknown>
  series: Record<string, unknown>
  instanceCount: number
  imageCount: number
  frameCount: number
  storedTransferSyntaxUids: string[]
  sopInstanceUid: string | null
  firstSopInstanceUid: string | null
}

export interface Version {
  versionId: string
  kind: 'created' | 'imported' | 'updated' | 'copied' | 'reverted' | 'failed'
  workflowStatus: string
  caller: string
  createdAt: string
  instanceCount: number
  added?: number
  removed?: number
  touched?: number
  levelsChanged?: string[]
  forced?: boolean
  message?: string
  revertedToVersionId?: string
  copiedFromImageSetId?: string
}

export interface DiffPart {
  oldVersionId: string
  newVersionId: string
  oldInstanceCount: number
  newInstanceCount: number
  added: number
  removed: number
  versions: Version[]
  levels: LevelDiff[]
  instances: InstanceDiff[]
  nextToken: string | null
}

export type Verdict = 'allowed' | 'needsForce' | 'refused'

export interface PreviewedChange {
  level: string
  /** Null for the removal of an instance. */
  key: string | null
  SOPInstanceUID: string | null
  verdict: Verdict
  message: string | null
  /** How many instances show a value of their own now, and will show the new one. */
  instancesWithOwnValue: number
  elements: ElementDiff[]
  moreElements?: number
}

export interface Preview {
  nextVersionId: string
  verdict: Verdict
  message: string | null
  changes: PreviewedChange[]
  affected: { imageSetId: string; versionId: string; modality: string | null; seriesNumber: string | null; instanceCount: number }[]
  affectedCount: number
  /** Primary image sets of other series because of which this one could not be promoted afterwards. */
  contradicting: Preview['affected']
}

const path = (datastoreId: string, imageSetId: string) => `datastores/${datastoreId}/imagesets/${imageSetId}`

export function overview(datastoreId: string, imageSetId: string, versionId: string | null, signal?: AbortSignal) {
  return call<Overview>(`${path(datastoreId, imageSetId)}${versionId === null ? '' : `?version=${encodeURIComponent(versionId)}`}`, { signal })
}

export function versions(datastoreId: string, imageSetId: string, nextToken: string | null, signal?: AbortSignal) {
  return call<{ versions: Version[]; nextToken: string | null }>(`${path(datastoreId, imageSetId)}/versions${nextToken === null ? '' : `?nextToken=${encodeURIComponent(nextToken)}`}`, { signal })
}

export function diff(datastoreId: string, imageSetId: string, from: string, to: string, nextToken: string | null, signal?: AbortSignal) {
  const query = new URLSearchParams({ from, to, ...(nextToken === null ? {} : { nextToken }) })
  return call<DiffPart>(`${path(datastoreId, imageSetId)}/diff?${query}`, { signal })
}

export function preview(datastoreId: string, imageSetId: string, request: Blobs & { latestVersionId: string; includeStudyImageSets?: boolean; force?: boolean }, signal?: AbortSignal) {
  return call<Preview>(`${path(datastoreId, imageSetId)}/preview`, { body: request, signal })
}
