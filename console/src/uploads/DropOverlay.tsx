import { useLocation } from 'preact-iso'
import { Ban, FolderInput } from 'lucide-preact'
import { currentStore } from '../app/stores'
import { mayImport } from './rights'
import { itemsOfDrop } from './collect'
import { useFileDrag } from './fileDrag'
import { begin } from './runs'

/**
 * Takes files that are dropped anywhere on a page of a data store, and shows where they will go. Elsewhere, and for whom may not
 * import, it says why nothing comes of it: the browser would leave the console for them.
 */
export function DropOverlay({ store }: { store: string | null }) {
  const { path, route } = useLocation()
  const isAllowed = mayImport(store ?? '*') === true && store !== null
  const drop = (files: DataTransfer): void => {
    if (!isAllowed) return
    const run = begin(store, itemsOfDrop(files))
    const page = `/console/stores/${store}/import`
    if (run !== null && path !== page) route(page)
  }
  const isOver = useFileDrag({ effect: isAllowed ? 'copy' : 'none', drop }, [store, path, isAllowed])
  if (!isOver) return null
  const name = currentStore.value?.datastoreName ?? 'this data store'
  return (
    <div class="drop-overlay">
      <div>
        {isAllowed ? <FolderInput aria-hidden="true" /> : <Ban aria-hidden="true" />}
        <h2>{isAllowed ? 'Drop to import' : 'Nothing is imported here'}</h2>
        <p class="soft">
          {isAllowed ? `into ${name}` : store === null ? 'Open the studies of a data store first, then drop files there.' : `You may not import into ${name}.`}
        </p>
      </div>
    </div>
  )
}
