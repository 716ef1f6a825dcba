// Documents and frames by the console's signed requests.

import { getImageSet, getImageSetMetadata } from '../api/native'
import { json, request } from '../api/request'
import type { ImageSetDocument, Instance, Origin } from './model/document'
import { type Packed, PackedReader } from './pixels/packed'
import { type FramesWanted, type ImageSetSummary, type ImageSource, MOST_SETS } from './source'
import { OfOtherVersion, isOfFrame } from './otherVersion'

interface SearchAnswer {
  imageSetsMetadataSummaries: {
    imageSetId: string
    isPrimary?: boolean
    DICOMTags?: { DICOMSeriesInstanceUID?: string }
  }[]
  nextToken?: string
}

export const consoleSource: ImageSource = {
  async document(origin, signal) {
    return (await getImageSetMetadata(origin.datastoreId, origin.imageSetId, origin.version, signal)) as ImageSetDocument
  },

  async imageSetsOfStudy(datastoreId, studyUid, signal) {
    const found: ImageSetSummary[] = []
    let nextToken: string | undefined
    do {
      const page = nextToken === undefined ? '' : `&nextToken=${encodeURIComponent(nextToken)}`
      const filters = [{ operator: 'EQUAL', values: [{ DICOMStudyInstanceUID: studyUid }] }]
      const answer: SearchAnswer = await json(`/datastore/${datastoreId}/searchImageSets?maxResults=50${page}`, {
        json: { filters },
        signal
      })
      for (const set of answer.imageSetsMetadataSummaries) {
        const seriesUid = set.DICOMTags?.DICOMSeriesInstanceUID ?? ''
        found.push({ imageSetId: set.imageSetId, isPrimary: set.isPrimary ?? true, seriesUid })
      }
      nextToken = answer.nextToken
    } while (nextToken !== undefined && found.length < MOST_SETS)
    return found
  },

  async *frames(origin: Origin, wanted: FramesWanted, signal: AbortSignal): AsyncIterable<Packed> {
    const isUrgent = wanted.ids?.length === 1 || wanted.level !== undefined
    const response = await request(`/datastore/${origin.datastoreId}/imageSet/${origin.imageSetId}/getImageFrames`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        imageFrameIds: wanted.ids,
        first: wanted.ids === undefined ? 'middle' : undefined,
        versionId: origin.version,
        level: wanted.level,
        uncut: wanted.level === undefined ? undefined : 'omit'
      }),
      priority: isUrgent ? 'high' : 'low',
      signal
    })
    const type = response.headers.get('content-type') ?? ''
    if (!type.startsWith('application/vnd.lightwell.frames') || !response.body) throw new Error('The answer is not packed frames.')
    const reader = response.body.getReader()
    const packed = new PackedReader()
    try {
      for (;;) {
        const { done, value } = await reader.read()
        if (done) break
        yield* packed.push(value)
      }
      packed.finish()
    } finally {
      void reader.cancel().catch(() => undefined)
    }
  },

  async decodedFrame(instance, frame, signal) {
    const accept = 'application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1'
    const response = await request(`${instancePath(instance)}/frames/${frame + 1}${inSet(instance)}`, { headers: { accept }, signal })
    const isTheFrame = isOfFrame(response.headers.get('etag'), instance.frames[frame]?.ID)
    // Without a tag nothing is known: of the latest version it may be taken for what was asked for, of others not.
    if (isTheFrame === false || (isTheFrame === undefined && instance.origin.version !== undefined)) {
      void response.body?.cancel()
      throw new OfOtherVersion('frame', instance.origin.version)
    }
    return new Uint8Array(await response.arrayBuffer())
  },

  async thumbnail(instance, signal) {
    const response = await request(`${instancePath(instance)}/thumbnail${inSet(instance)}`, { headers: { accept: 'image/jpeg' }, signal })
    const picture = await response.blob()
    await checkVersion(instance, 'picture', signal)
    return picture
  },

  async rendered(instance, type, signal) {
    const response = await request(`${instancePath(instance)}/rendered${inSet(instance)}`, { headers: { accept: type }, signal })
    const bytes = await response.arrayBuffer()
    await checkVersion(instance, 'document', signal)
    // The type is the one that was asked for, whatever the bytes are: a browser must not take them for a page.
    return new Blob([bytes], { type })
  },

  async dicomJson(instance, signal) {
    const headers = { accept: 'application/dicom+json' }
    const [found] = await json<Awaited<ReturnType<ImageSource['dicomJson']>>[]>(`${instancePath(instance)}/metadata${inSet(instance)}`, { headers, signal })
    await checkVersion(instance, 'part', signal)
    return found ?? {}
  },

  async bulk(instance, uri, signal) {
    // The address is absolute, for clients elsewhere; the console calls its own origin alone.
    const { pathname, search } = new URL(uri, location.origin)
    const response = await request(pathname + search, { headers: { accept: 'application/octet-stream' }, signal })
    const bytes = new Uint8Array(await response.arrayBuffer())
    await checkVersion(instance, 'part', signal)
    return bytes
  }
}

/**
 * DICOMweb answers from the latest version. Asked for after the answer: versions only go up, so if the latest is still the
 * one that is viewed, it was so when the answer was made.
 */
async function checkVersion({ origin }: Instance, what: 'picture' | 'document' | 'part', signal: AbortSignal): Promise<void> {
  if (origin.version === undefined) return
  const { versionId } = await getImageSet(origin.datastoreId, origin.imageSetId, { signal })
  if (versionId !== origin.version) throw new OfOtherVersion(what, origin.version)
}

function instancePath({ origin, studyUid, seriesUid, uid }: Instance): string {
  const [study, series, instance] = [studyUid, seriesUid, uid].map(encodeURIComponent)
  return `/datastore/${origin.datastoreId}/studies/${study}/series/${series}/instances/${instance}`
}

function inSet(instance: Instance): string {
  return `?imageSetId=${instance.origin.imageSetId}`
}
