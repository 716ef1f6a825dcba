import { ApiError } from '../../api/errors'
import { usage } from '../../api/consoleApi'
import { type DatastoreSummary, deleteDatastore } from '../../api/native'
import { currentStoreId, loadStores } from '../../app/stores'
import { confirm } from '../../ui/Dialog'
import { toast } from '../../ui/Toasts'
import { count } from '../../ui/format'

/** Asks and deletes a data store; only an empty one can be, so of another one it leads to its studies. Resolves to whether it is gone. */
export async function askToDelete(store: DatastoreSummary, route: (path: string) => void): Promise<boolean> {
  const name = store.datastoreName ?? store.datastoreId
  const held = await usage(store.datastoreId).catch(() => undefined)
  if (held !== undefined && held.imageSets > 0) {
    const question = { title: `${name} is not empty`, action: 'Show its studies', children: <p>It holds {count(held.studies, 'study', 'studies')} in {count(held.imageSets, 'image set')}. Only an empty data store can be deleted: delete its image sets first.</p> }
    await confirm(question, () => route(`/console/stores/${store.datastoreId}`))
    return false
  }
  return confirm(
    {
      title: `Delete the data store ${name}?`,
      action: 'Delete',
      look: 'danger',
      typed: name,
      children: (
        <div class="stack-tight">
          <p>It is empty. Its id, tags and settings go, and clients that use it are refused from then on.</p>
          <p><strong>This cannot be undone.</strong></p>
        </div>
      )
    },
    async () => {
      try {
        await deleteDatastore(store.datastoreId)
      } catch (failure) {
        if (failure instanceof ApiError && failure.code === 'ConflictException') throw new Error(`${failure.message} Nothing was deleted.`)
        throw failure
      }
      if (currentStoreId.value === store.datastoreId) currentStoreId.value = null
      await loadStores()
      toast(`The data store ${name} is deleted.`, 'good')
    }
  )
}
