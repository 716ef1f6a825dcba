// Files that are dragged over the viewer: the browser would leave the page for them.

import { Ban } from 'lucide-preact'
import { useFileDrag } from '../../uploads/fileDrag'
import '../../uploads/uploads.css'

/** Takes them wherever they are dropped, and says that nothing comes of it. */
export function FileDrop() {
  // A viewport below, which takes series, is not asked.
  const isOver = useFileDrag({ effect: 'none', isAlone: true }, [])
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
