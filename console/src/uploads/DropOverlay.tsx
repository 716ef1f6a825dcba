import { useEffect, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { Ban, FolderInput } from 'lucide-preact'
import { currentStore } from '../app/stores'
import { mayImport } from './rights'
import { itemsOfDrop } from './collect'
import { begin } from './runs'

const QUIET_MS = 1_500

/**
 * Takes files that are dropped anywhere on a page of a data store, and shows where they will go. Elsewhere, and for whom may not
 * import, it says why nothing comes of it: the browser would leave the console for them.
 */
export function DropOverlay({ store }: { store: string | null }) {
  const { path, route } = useLocation()
  const [isOver, setOver] = useState(false)
  const isAllowed = mayImport(store ?? '*') === true && store !== null
  useEffect(() => {
    let depth = 0
    let idle: ReturnType<typeof setTimeout> | undefined
    // Browsers tell of a drag that lasts several times a second. Its end is not told by all of them where nothing may be dropped.
    const lasts = () => {
      clearTimeout(idle)
      idle = setTimeout(() => {
        depth = 0
        setOver(false)
      }, QUIET_MS)
    }
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false
    const enter = (event: DragEvent) => {
      if (!hasFiles(event)) return
      event.preventDefault()
      depth++
      lasts()
      setOver(true)
    }
    const over = (event: DragEvent) => {
      if (!hasFiles(event)) return
      event.preventDefault()
      lasts()
      event.dataTransfer!.dropEffect = isAllowed ? 'copy' : 'none'
    }
    const leave = (event: DragEvent) => {
      if (!hasFiles(event)) return
      depth = Math.max(0, depth - 1)
      if (depth === 0) setOver(false)
    }
    const drop = (event: DragEvent) => {
      if (!hasFiles(event)) return
      event.preventDefault()
      depth = 0
      setOver(false)
      if (!isAllowed) return
      const run = begin(store, itemsOfDrop(event.dataTransfer!))
      const page = `/console/stores/${store}/import`
      if (run !== null && path !== page) route(page)
    }
    window.addEventListener('dragenter', enter)
    window.addEventListener('dragover', over)
    window.addEventListener('dragleave', leave)
    window.addEventListener('drop', drop)
    return () => {
      clearTimeout(idle)
      window.removeEventListener('dragenter', enter)
      window.removeEventListener('dragover', over)
      window.removeEventListener('dragleave', leave)
      window.removeEventListener('drop', drop)
    }
  }, [store, path, isAllowed])
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
