// Edits that are not applied yet, by image set. In memory only: they outlive the page, but neither the tab nor who is signed in.

import { effect, signal } from '@preact/signals'
import { onOtherPerson } from '../../session/session'
import type { Edit } from './edits'

const NONE: Edit[] = []
const drafts = signal<Record<string, Edit[]>>({})
onOtherPerson(() => (drafts.value = {}))

const keyOf = (store: string, imageSetId: string) => `${store}/${imageSetId}`

export function draftOf(store: string, imageSetId: string): Edit[] {
  return drafts.value[keyOf(store, imageSetId)] ?? NONE
}

export function setDraft(store: string, imageSetId: string, edits: Edit[]): void {
  const { [keyOf(store, imageSetId)]: _, ...others } = drafts.peek()
  drafts.value = edits.length === 0 ? others : { ...others, [keyOf(store, imageSetId)]: edits }
}

/** What is gone has nothing left to change. */
export const dropDraft = (store: string, imageSetId: string) => setDraft(store, imageSetId, NONE)

// They go with the tab, on whichever page it is.
const warn = (event: Event) => event.preventDefault()
effect(() => {
  if (Object.keys(drafts.value).length > 0) globalThis.addEventListener?.('beforeunload', warn)
  else globalThis.removeEventListener?.('beforeunload', warn)
})
