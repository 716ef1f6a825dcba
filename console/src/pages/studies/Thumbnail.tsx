import { useEffect, useRef, useState } from 'preact/hooks'
import { AudioLines, Bone, FileText, Image, type LucideIcon, ScanLine, Shapes } from 'lucide-preact'
import type { StudyImageSet } from '../../api/studies'
import { known, thumbnail, thumbnailPath } from './thumbnails'

const ICONS: Record<string, LucideIcon> = { SR: FileText, DOC: FileText, KO: FileText, PR: Shapes, SEG: Shapes, RTSTRUCT: Shapes, ECG: AudioLines, HD: AudioLines, AU: AudioLines, CR: Bone, DX: Bone }
const WITHOUT_PICTURES = new Set(['SR', 'DOC', 'KO', 'PR', 'RTSTRUCT', 'RTPLAN', 'ECG', 'HD', 'AU', 'REG', 'PLAN'])

/** A small picture of an image set once it comes into view; before that, and without one, a sign of its kind. */
export function Thumbnail({ store, study, set }: { store: string; study: string; set: StudyImageSet | undefined }) {
  const box = useRef<HTMLDivElement>(null)
  const path = set === undefined || WITHOUT_PICTURES.has(set.modality ?? '') ? null : thumbnailPath(store, study, set.seriesInstanceUid, set.imageSetId, set.versionId)
  const [url, setUrl] = useState<string | null>(path === null ? null : (known(path) ?? null))
  useEffect(() => {
    const element = box.current
    if (path === null || element === null) return setUrl(null)
    const there = known(path)
    if (there !== undefined) return setUrl(there)
    setUrl(null)
    let cancel: (() => void) | null = null
    let isOver = false
    const watch = new IntersectionObserver(
      (entries) => {
        const isSeen = entries.some((each) => each.isIntersecting)
        if (isSeen && cancel === null) {
          const wish = thumbnail(path)
          cancel = wish.cancel
          void wish.url.then((found) => !isOver && setUrl(found))
        } else if (!isSeen && cancel !== null) {
          cancel()
          cancel = null
        }
      },
      { rootMargin: '150px' }
    )
    watch.observe(element)
    return () => {
      isOver = true
      cancel?.()
      watch.disconnect()
    }
  }, [path])
  const Icon = ICONS[set?.modality ?? ''] ?? (set === undefined ? ScanLine : Image)
  return (
    <div class="study-thumb" ref={box} aria-hidden="true">
      {url !== null ? <img src={url} alt="" decoding="async" draggable={false} onError={() => setUrl(null)} /> : <Icon />}
    </div>
  )
}
