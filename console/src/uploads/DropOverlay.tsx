import { useEffect, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { FolderInput } from 'lucide-preact'
import { currentStore } from '../app/stores'
import { mayImport } from './rights'
import { itemsOfDrop } from './collect'
import { begin } from './runs'

/**
 * Takes files that are dropped anywhere on a page of a data store, and shows where they will go. On other pages they do nothing:
 * the browser would leave the console for them.
 */
export function DropOverlay({ store }: { store: string | null }) {
  const { path, route } = useLocation()
  const [isOver, setOver] = useState(false)
  const isAllowed = mayImport(store ?? '*') === true && store !== null
  useEffect(() => {
    let depth = 0
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false
    const enter = (event: DragEvent) => {
      if (!hasFiles(event)) return
      event.preventDefault()
      depth++
      setOver(isAllowed)
    }
    const over = (event: DragEvent) => {
      if (!hasFiles(event)) return
      event.preventDefault()
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
      window.removeEventListener('dragenter', enter)
      window.removeEventListener('dragover', over)
      window.removeEventListener('dragleave', leave)
      window.removeEventListener('drop', drop)
    }
  }, [store, path, isAllowed])
  if (!isOver) return null
  return (
    <div class="drop-overlay">
      <div>
        <FolderInput aria-hidden="true" />
        <h2>Drop to import</h2>
        <p class="soft">into {currentStore.value?.datastoreName ?? 'this data store'}</p>
      </div>
    </div>
  )
}
