// The data stores, and the one that the person works in; pages and the navigation share them.

import { computed, signal } from '@preact/signals'
import { allowed } from '../api/consoleApi'
import { type DatastoreSummary, allDatastores } from '../api/native'
import { datastoreArn } from '../session/allowed'
import { onOtherPerson, session } from '../session/session'

export const stores = signal<DatastoreSummary[] | undefined>(undefined)
export const storesError = signal<unknown>(undefined)
export const currentStoreId = signal<string | null>(null)

/** Data stores in which the person may do nothing: everybody who may list them sees their names, as on AWS. */
const closed = signal<ReadonlySet<string>>(new Set())

/** Those that are not deleted and in which the person may do something. */
export const activeStores = computed(() => (stores.value ?? []).filter((each) => each.datastoreStatus === 'ACTIVE' && !closed.value.has(each.datastoreId)))
export const currentStore = computed(() => stores.value?.find((each) => each.datastoreId === currentStoreId.value))

onOtherPerson(() => {
  stores.value = storesError.value = undefined
  currentStoreId.value = null
  closed.value = new Set()
})

export async function loadStores(): Promise<void> {
  const who = session.peek()?.arn
  try {
    const found = await allDatastores()
    const without = await withoutRights(found.filter((each) => each.datastoreStatus === 'ACTIVE'))
    // Meanwhile somebody else may have signed in.
    if (session.peek()?.arn !== who) return
    closed.value = without
    stores.value = found
    storesError.value = undefined
  } catch (error) {
    if (session.peek()?.arn !== who) return
    storesError.value = error
  }
}

const USES = ['GetDatastore', 'SearchImageSets', 'SearchDICOMStudies', 'StartDICOMImportJob']

async function withoutRights(found: DatastoreSummary[]): Promise<Set<string>> {
  // The choice of many needs no such help, and one is not chosen from.
  if (found.length < 2 || found.length > 50) return new Set()
  const checks = found.flatMap((each) => USES.map((name) => ({ action: `medical-imaging:${name}`, resource: datastoreArn(each.datastoreId) })))
  try {
    const answers = await allowed(checks)
    return new Set(found.filter((_, index) => !answers.slice(index * USES.length, (index + 1) * USES.length).some(Boolean)).map((each) => each.datastoreId))
  } catch {
    return new Set()
  }
}
