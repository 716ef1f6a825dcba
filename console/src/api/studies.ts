// The list of studies and archives of image sets: /console/api. See docs/reference/console-api.md.

import { call } from './consoleApi'
import { link } from './request'

export type StudySort = 'updated' | 'date' | 'patientName' | 'patientId' | 'modality' | 'description'
export type Primary = 'all' | 'primary' | 'nonPrimary'

export interface StudyQuery {
  text: string
  modalities: string[]
  /** Only these studies, at most a hundred. */
  studyInstanceUids?: string[]
  firstDay: string | null
  lastDay: string | null
  primary: Primary
  sort: StudySort
  direction: 'ascending' | 'descending'
}

export interface StudyImageSet {
  imageSetId: string
  versionId: string
  isPrimary: boolean
  seriesInstanceUid: string
  seriesNumber: string | null
  seriesDescription: string | null
  modality: string | null
  bodyPartExamined: string | null
  instanceCount: number
  createdAt: string
  updatedAt: string
  /** Whom it names, where the study is shown with another patient. */
  otherPatient: Patient | null
}

export interface Patient {
  patientId: string | null
  patientName: string | null
}

export interface Study {
  studyInstanceUid: string
  patientName: string | null
  patientId: string | null
  patientBirthDate: string | null
  patientSex: string | null
  studyId: string | null
  studyDate: string | null
  studyTime: string | null
  studyDescription: string | null
  accessionNumber: string | null
  modalities: string[]
  seriesCount: number
  instanceCount: number
  primaryImageSetCount: number
  otherImageSetCount: number
  updatedAt: string
  thumbnailImageSetId: string | null
  imageSets: StudyImageSet[]
  hasMoreImageSets: boolean
}

export interface StudyPage {
  studies: Study[]
  nextToken: string | null
  total: number | null
  sortedWithin: number | null
  nonPrimaryWithin: number | null
}

/** A page of studies. What is searched for is in the body: it never stands in an address. */
export function listStudies(datastoreId: string, query: StudyQuery, options: { nextToken?: string | null; maxResults?: number; signal?: AbortSignal } = {}): Promise<StudyPage> {
  const { signal, ...page } = options
  const { text, modalities, studyInstanceUids, firstDay, lastDay, primary, sort, direction } = query
  return call<StudyPage>(`datastores/${datastoreId}/studies`, { body: { text, modalities, studyInstanceUids, firstDay, lastDay, primary, sort, direction, ...page }, signal })
}

export const MOST_SETS_IN_ARCHIVE = 150
export const MOST_INSTANCES_IN_ARCHIVE = 50_000

/** A link by which the browser saves image sets as one ZIP archive. It opens for five minutes. */
export function archiveLink(datastoreId: string, imageSetIds: string[], syntax: 'explicit' | 'stored'): Promise<string> {
  return link(`/console/api/datastores/${datastoreId}/archive?imageSetIds=${imageSetIds.join(',')}&syntax=${syntax}`)
}
