// Pictures of image sets: asked for when they come into view, few at once, and kept while they may be shown again.

import { effect } from '@preact/signals'
import { ApiError } from '../../api/errors'
import { request } from '../../api/request'
import { session } from '../../session/session'

const AT_ONCE = 4
const KEPT = 400

interface Wanted {
  path: string
  isOver: boolean
  resolve: (url: string | null) => void
}

const kept = new Map<string, string | null>()
const waiting: Wanted[] = []
let running = 0

// Nothing of one person's is left for the next.
let owner: string | null = null
effect(() => {
  const who = session.value?.accessKeyId ?? null
  if (who === owner) return
  owner = who
  for (const url of kept.values()) if (url !== null) URL.revokeObjectURL(url)
  kept.clear()
})

/** Where the picture is; after `#` the version that it is of, which the server is not asked for. */
export function thumbnailPath(datastoreId: string, studyInstanceUid: string, seriesInstanceUid: string, imageSetId: string, versionId: string): string {
  const study = encodeURIComponent(studyInstanceUid)
  return `/datastore/${datastoreId}/studies/${study}/series/${encodeURIComponent(seriesInstanceUid)}/thumbnail?imageSetId=${imageSetId}#${versionId}`
}

/** What is there already: a URL, null where there is no picture, undefined if nobody has asked. */
export function known(path: string): string | null | undefined {
  return kept.get(path)
}

/** A URL of the picture, null where there is none. `cancel` drops the wish as long as nothing was sent. */
export function thumbnail(path: string): { url: Promise<string | null>; cancel: () => void } {
  const wanted: Wanted = { path, isOver: false, resolve: () => undefined }
  const url = new Promise<string | null>((resolve) => (wanted.resolve = resolve))
  waiting.push(wanted)
  next()
  return {
    url,
    cancel: () => {
      wanted.isOver = true
    }
  }
}

function next(): void {
  while (running < AT_ONCE) {
    const wanted = waiting.shift()
    if (wanted === undefined) return
    if (wanted.isOver) continue
    running++
    void fetched(wanted.path)
      .then(wanted.resolve)
      .finally(() => {
        running--
        next()
      })
  }
}

async function fetched(path: string): Promise<string | null> {
  const found = kept.get(path)
  if (found !== undefined) return found
  const asked = owner
  let url: string | null = null
  try {
    const response = await request(path.split('#', 1)[0]!, { headers: { accept: 'image/jpeg' }, priority: 'low' })
    url = URL.createObjectURL(await response.blob())
  } catch (error) {
    // Not every series has a picture; the list does without. What may pass is asked again the next time.
    if (!(error instanceof ApiError) || error.status >= 500 || error.status === 429) return null
  }
  if (asked !== owner) {
    if (url !== null) URL.revokeObjectURL(url)
    return null
  }
  kept.set(path, url)
  if (kept.size > KEPT) {
    const oldest = kept.keys().next().value
    if (oldest !== undefined) {
      const gone = kept.get(oldest)
      if (gone) URL.revokeObjectURL(gone)
      kept.delete(oldest)
    }
  }
  return url
}
