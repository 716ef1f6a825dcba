// A small picture of a display set: the smallest resolution level of its middle frame, else the server's thumbnail.

import { useEffect, useRef, useState } from 'preact/hooks'
import { FileText, ImageOff } from 'lucide-preact'
import type { DisplaySet } from '../model/displaySets'
import type { ViewerState } from './viewerState'

const WIDTH = 72

export function Thumbnail({ set, viewer }: { set: DisplaySet; viewer: ViewerState }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [state, setState] = useState<'waiting' | 'drawn' | 'none'>('waiting')
  const isImage = set.frames.length > 0
  useEffect(() => {
    if (!isImage) return
    const abort = new AbortController()
    let isSeen = false
    const draw = async (): Promise<void> => {
      try {
        const { instance } = set.frames[Math.floor((set.frames.length - 1) / 2)]!
        const blob = await viewer.thumbnails.take(() => viewer.source.thumbnail(instance, abort.signal))
        const bitmap = await createImageBitmap(blob)
        const target = canvas.current
        if (!target || abort.signal.aborted) return
        const scale = Math.min((WIDTH * 2) / bitmap.width, (WIDTH * 2) / bitmap.height)
        ;[target.width, target.height] = [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))]
        const context = target.getContext('2d')!
        context.imageSmoothingQuality = 'high'
        context.drawImage(bitmap, 0, 0, target.width, target.height)
        setState('drawn')
      } catch {
        if (!abort.signal.aborted) setState('none')
      }
    }
    // Only those that come into view, and not before the first image.
    const observer = new IntersectionObserver((entries) => {
      if (isSeen || !entries.some((entry) => entry.isIntersecting)) return
      isSeen = true
      observer.disconnect()
      void draw()
    })
    observer.observe(canvas.current!)
    return () => {
      observer.disconnect()
      abort.abort()
    }
  }, [set])
  if (!isImage) return <span class="thumbnail" aria-hidden="true"><FileText /></span>
  return (
    <span class={`thumbnail ${state}`} aria-hidden="true">
      <canvas ref={canvas} width={WIDTH} height={WIDTH} />
      {state === 'none' && <ImageOff />}
    </span>
  )
}
