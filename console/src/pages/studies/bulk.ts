// What is done to several image sets at once, one request for each, a few at the same time.

import { deleteSeenImageSet } from '../../api/consoleApi'
import { ApiError, ChangedMeanwhile, explain } from '../../api/errors'
import { copyImageSet, untilUnlocked } from '../../api/native'
import { json } from '../../api/request'
import { MOST_INSTANCES_IN_ARCHIVE, MOST_SETS_IN_ARCHIVE, type Patient, type Study, type StudyImageSet, archiveLink } from '../../api/studies'
import { whyNotCopied } from '../imageset/copying'
import { dropDraft } from '../imageset/drafts'

export type BulkAction = 'delete' | 'copy' | 'promote'

export interface BulkItem {
  imageSetId: string
  /** The version that the person has seen, with so many instances. */
  versionId: string
  isPrimary: boolean
  instanceCount: number
  study: Study
  label: string
  /** Whom the image set names, which may not be the patient of the study's row. */
  patient: Patient
  /** The copy that was begun, of which the end is not known: it is waited for again rather than made twice. */
  startedAs?: string
}

/** `hasChanged`: it is not what the person has seen any more, and has to be looked at before it is tried again. */
export type ItemState = { is: 'waiting' | 'running' | 'done' } | { is: 'failed'; message: string; hasChanged: boolean }

const AT_ONCE = 4

/** All image sets of the studies, those that a list does not hold included. */
export async function itemsOf(store: string, studies: Study[], signal?: AbortSignal): Promise<BulkItem[]> {
  const items: BulkItem[] = []
  for (const study of studies) {
    if (study.hasMoreImageSets) items.push(...(await allSets(store, study, signal)))
    else items.push(...study.imageSets.map((set) => itemOf(study, set)))
  }
  return items
}

export function itemOf(study: Study, set: StudyImageSet): BulkItem {
  const { imageSetId, versionId, isPrimary, instanceCount } = set
  return { imageSetId, versionId, isPrimary, instanceCount, study, label: setLabel(set.seriesNumber, set.modality, set.seriesDescription), patient: set.otherPatient ?? study }
}

export interface Named {
  patient: Patient
  study: Study
  items: BulkItem[]
  /** It is not the patient with whom the list shows the study. */
  isOther: boolean
}

/** What a person has to be told of before something is done with the image sets: each study of each patient. */
export function named(items: BulkItem[]): Named[] {
  const found = new Map<string, Named>()
  for (const item of items) {
    const { patient, study } = item
    const key = JSON.stringify([study.studyInstanceUid, patient.patientId, patient.patientName])
    const isOther = patient.patientId !== study.patientId || patient.patientName !== study.patientName
    const group = found.get(key) ?? { patient, study, items: [], isOther }
    group.items.push(item)
    found.set(key, group)
  }
  return [...found.values()]
}

/** What an action on studies means: their copies are not copied again, and what is primary is not promoted. */
export function concerned(action: BulkAction, items: BulkItem[], isOne: boolean): BulkItem[] {
  if (action === 'promote') return items.filter((item) => !item.isPrimary)
  if (action === 'copy' && !isOne) return items.filter((item) => item.isPrimary || item.study.primaryImageSetCount === 0)
  return items
}

export function setLabel(number: string | number | null | undefined, modality: string | null | undefined, description: string | null | undefined): string {
  return [number != null && `Series ${number}`, modality, description].filter(Boolean).join(' · ') || 'Series'
}

interface Found {
  imageSetId: string
  version: number
  isPrimary?: boolean
  DICOMTags?: { DICOMSeriesNumber?: number; DICOMSeriesModality?: string; DICOMNumberOfStudyRelatedInstances?: number; DICOMPatientId?: string; DICOMPatientName?: string }
}

async function allSets(store: string, study: Study, signal?: AbortSignal): Promise<BulkItem[]> {
  const found: Found[] = []
  let nextToken: string | undefined
  do {
    const page = await json<{ imageSetsMetadataSummaries: Found[]; nextToken?: string }>(`/datastore/${store}/searchImageSets?maxResults=50${nextToken === undefined ? '' : `&nextToken=${encodeURIComponent(nextToken)}`}`, {
      json: { filters: [{ operator: 'EQUAL', values: [{ DICOMStudyInstanceUID: study.studyInstanceUid }] }] },
      signal
    })
    found.push(...page.imageSetsMetadataSummaries)
    nextToken = page.nextToken
  } while (nextToken !== undefined)
  return found.map((each) => ({
    imageSetId: each.imageSetId,
    versionId: String(each.version),
    isPrimary: each.isPrimary ?? true,
    instanceCount: each.DICOMTags?.DICOMNumberOfStudyRelatedInstances ?? 0,
    label: setLabel(each.DICOMTags?.DICOMSeriesNumber, each.DICOMTags?.DICOMSeriesModality, null),
    study,
    patient: { patientId: each.DICOMTags?.DICOMPatientId ?? null, patientName: each.DICOMTags?.DICOMPatientName ?? null }
  }))
}

/** Whether it may be tried once more: it is not done, nor is it another thing by now than was agreed to. */
export function mayBeTriedAgain(state: ItemState): boolean {
  return state.is !== 'done' && !(state.is === 'failed' && state.hasChanged)
}

/** Carries out the action on each item; `told` hears of every change. Resolves when nothing runs any more. */
export async function runBulk(store: string, action: BulkAction, items: BulkItem[], told: (index: number, state: ItemState) => void, isStopped: () => boolean, only: (index: number) => boolean = () => true): Promise<void> {
  const left = items.map((_, index) => index).filter(only)
  const worker = async (): Promise<void> => {
    for (;;) {
      const index = left.shift()
      if (index === undefined || isStopped()) return
      told(index, { is: 'running' })
      try {
        await perform(store, action, items[index]!)
        told(index, { is: 'done' })
      } catch (error) {
        told(index, { is: 'failed', message: explain(error), hasChanged: error instanceof ChangedMeanwhile })
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

async function perform(store: string, action: BulkAction, item: BulkItem): Promise<void> {
  if (action === 'delete') {
    try {
      await deleteSeenImageSet(store, item.imageSetId, item.versionId)
      dropDraft(store, item.imageSetId)
    } catch (error) {
      if (error instanceof ApiError && error.code === 'ResourceNotFoundException') throw new Error('It was not found in this data store: somebody may have deleted it already.')
      throw error
    }
    return
  }
  item.startedAs ??= (await copyImageSet(store, item.imageSetId, { sourceImageSet: { latestVersionId: item.versionId } }, { promoteToPrimary: action === 'promote' })).destinationImageSetProperties.imageSetId
  const ended = await untilUnlocked(store, item.startedAs).catch((error: unknown) => {
    if (error instanceof ApiError && error.status === 404) item.startedAs = undefined
    throw error
  })
  item.startedAs = undefined
  // That the two do not fit together is known only afterwards.
  if (ended.imageSetWorkflowStatus?.includes('FAILED')) throw new Error(whyNotCopied(ended.message))
}

/** The image sets in as few archives as may hold them. */
export function archives(items: Pick<BulkItem, 'imageSetId' | 'instanceCount'>[]): string[][] {
  const found: string[][] = []
  let instances = Infinity
  for (const { imageSetId, instanceCount } of items) {
    const last = found.at(-1)
    if (last === undefined || last.length >= MOST_SETS_IN_ARCHIVE || instances + instanceCount > MOST_INSTANCES_IN_ARCHIVE) {
      found.push([imageSetId])
      instances = instanceCount
    } else {
      last.push(imageSetId)
      instances += instanceCount
    }
  }
  return found
}

/** Has the browser save the image sets; how many files that makes. The page holds none of their bytes. */
export async function saveArchives(store: string, items: Pick<BulkItem, 'imageSetId' | 'instanceCount'>[], syntax: 'explicit' | 'stored'): Promise<number> {
  const all = archives(items)
  for (const [index, ids] of all.entries()) {
    const anchor = document.createElement('a')
    anchor.href = await archiveLink(store, ids, syntax)
    anchor.download = all.length === 1 ? 'dicom.zip' : `dicom-${index + 1}.zip`
    anchor.rel = 'noreferrer'
    document.body.append(anchor)
    anchor.click()
    anchor.remove()
    // Browsers drop downloads that follow at once.
    if (index < all.length - 1) await new Promise((resolve) => setTimeout(resolve, 1200))
  }
  return all.length
}
