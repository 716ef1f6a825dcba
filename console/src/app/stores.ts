// The data stores, and the one that the person works in; pages and the navigation share them.

import { computed, signal } from '@preact/signals'
import { type DatastoreSummary, allDatastores } from '../api/native'

export const stores = signal<DatastoreSummary[] | undefined>(undefined)
export const storesError = signal<unknown>(undefined)
export const currentStoreId = signal<string | null>(null)

export const activeStores = computed(() => (stores.value ?? []).filter((each) => each.datastoreStatus === 'ACTIVE'))
export const currentStore = computed(() => stores.value?.find((each) => each.datastoreId === currentStoreId.value))

export async function loadStores(): Promise<void> {
  try {
    stores.value = await allDatastores()
    storesError.value = undefined
  } catch (error) {
    storesError.value = error
  }
}
