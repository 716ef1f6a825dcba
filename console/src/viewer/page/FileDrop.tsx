// Files that are dragged over the viewer: the browser would leave the page for them.

import { useEffect, useState } from 'preact/hooks'
import { Ban } from 'lucide-preact'
import '../../uploads/uploads.css'

const QUIET_MS = 1_500

/** Takes them wherever they are dropped, and says that nothing comes of it. */
export function FileDrop() {
  const [isOver, setOver] = useState(false)
  useEffect(() => {
    let idle: ReturnType<typeof setTimeout> | undefined
    const end = (): void => {
      clearTimeout(idle)
      setOver(false)
    }
    // Told several times a second while the drag lasts; its end is not told by all browsers where nothing may be dropped.
    const over = (event: DragEvent): void => {
      if (!areFiles(event)) return
      event.preventDefault()
      // A viewport below, which takes series, is not asked.
      event.stopPropagation()
      event.dataTransfer!.dropEffect = 'none'
      clearTimeout(idle)
      idle = setTimeout(end, QUIET_MS)
      setOver(true)
    }
    const drop = (event: DragEvent): void => {
      if (!areFiles(event)) return
      event.preventDefault()
      event.stopPropagation()
      end()
    }
    // Of the window itself: it is left for nothing else.
    const leave = (event: DragEvent): void => {
      if (event.relatedTarget === null) end()
    }
    window.addEventListener('dragenter', over, true)
    window.addEventListener('dragover', over, true)
    window.addEventListener('dragleave', leave, true)
    window.addEventListener('drop', drop, true)
    return () => {
      clearTimeout(idle)
      window.removeEventListener('dragenter', over, true)
      window.removeEventListener('dragover', over, true)
      window.removeEventListener('dragleave', leave, true)
      window.removeEventListener('drop', drop, true)
    }
  }, [])
  if (!isOver) return null
  return (
    <div class="drop-overlay" data-testid="no-drop">
      <div>
        <Ban aria-hidden="true" />
        <h2>Nothing is imported here</h2>
        <p class="soft">Go back to the studies, and drop files there.</p>
      </div>
    </div>
  )
}

function areFiles(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes('Files') ?? false
}
