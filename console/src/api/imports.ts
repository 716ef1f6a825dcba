// Uploads and import jobs: what /console/api adds to StartDICOMImportJob. See docs/reference/console-api.md.

import { call } from './consoleApi'
import { json } from './request'

export interface Upload {
  uploadId: string
  name: string
  createdAt: string
  keptUntil: string | null
  files: number
  bytes: number
  arrivedFiles: number
  arrivedBytes: number
  inputS3Uri: string
  outputS3Uri: string
  dataAccessRoleArn: string
  jobId: string | null
  jobStatus: string | null
  /** How many the job has not imported although they are DICOM; null before it has ended. */
  leftFiles: number | null
}

export interface ArrivedFile {
  name: string
  bytes: number
  digest: string
}

export type JobPhase = 'list' | 'read' | 'commit' | 'report' | 'done'

export interface Job {
  jobId: string
  jobName: string | null
  jobStatus: 'SUBMITTED' | 'IN_PROGRESS' | 'COMPLETED' | 'FAILED'
  phase: JobPhase
  message: string | null
  submittedAt: string
  endedAt: string | null
  inputS3Uri: string
  outputS3Uri: string
  startedBy: string
  isOwn: boolean
  scannedFiles: number
  readFiles: number
  importedFiles: number | null
  failedFiles: number | null
  /** These are not counted as failed. */
  notDicomFiles: number | null
  isPruned: boolean
}

export interface Reason {
  reason: string
  files: number
  example: string
}

export interface Reasons {
  failures: Reason[]
  warnings: Reason[]
  alreadyThere: number
  notDicom: number
  notDicomNames: string[]
  studyInstanceUids: string[]
  isPartial: boolean
}

const uploads = (store: string) => `datastores/${store}/uploads`

export const beginUpload = (store: string, body: { name: string; files: number; bytes: number }, signal?: AbortSignal) => call<Upload>(uploads(store), { body, signal })
export const listUploads = async (store: string, signal?: AbortSignal) => (await call<{ uploads: Upload[] }>(uploads(store), { signal })).uploads
export const getUpload = (store: string, id: string, signal?: AbortSignal) => call<Upload>(`${uploads(store)}/${id}`, { signal })
export const discardUpload = (store: string, id: string) => call<unknown>(`${uploads(store)}/${id}`, { method: 'DELETE' })
export const filesPath = (store: string, id: string) => `/console/api/${uploads(store)}/${id}/files`

/** All files of an upload that have arrived, by their names. */
export async function arrivedFiles(store: string, id: string, signal?: AbortSignal): Promise<Map<string, ArrivedFile>> {
  const found = new Map<string, ArrivedFile>()
  let token: string | null = null
  do {
    // In the body, since the name of a file is in it.
    const page: { files: ArrivedFile[]; nextToken: string | null } = await call(`${uploads(store)}/${id}/files`, { body: { nextToken: token }, signal })
    for (const file of page.files) found.set(file.name, file)
    token = page.nextToken
  } while (token !== null)
  return found
}

export interface ImportRequest {
  inputS3Uri: string
  outputS3Uri: string
  dataAccessRoleArn: string
  clientToken: string
  jobName?: string
}

export function startDICOMImportJob(store: string, body: ImportRequest) {
  return json<{ jobId: string; jobStatus: string }>(`/startDICOMImportJob/datastore/${store}`, { json: body })
}

const jobs = (store: string) => `datastores/${store}/jobs`

export function listJobs(store: string, options: { nextToken?: string | null; running?: boolean; maxResults?: number } = {}, signal?: AbortSignal) {
  const query = new URLSearchParams()
  if (options.nextToken) query.set('nextToken', options.nextToken)
  if (options.running) query.set('running', 'true')
  query.set('maxResults', String(options.maxResults ?? 25))
  return call<{ jobs: Job[]; nextToken: string | null }>(`${jobs(store)}?${query}`, { signal })
}

export const getJob = (store: string, job: string, signal?: AbortSignal) => call<Job>(`${jobs(store)}/${job}`, { signal })
export const getReasons = (store: string, job: string, signal?: AbortSignal) => call<Reasons>(`${jobs(store)}/${job}/reasons`, { signal })
export const cancelJob = (store: string, job: string) => call<Job>(`${jobs(store)}/${job}/cancel`, { method: 'POST' })
export const reportPath = (store: string, job: string, part: 'manifest' | 'success' | 'failure' | 'warning') => `/console/api/${jobs(store)}/${job}/report/${part}`
