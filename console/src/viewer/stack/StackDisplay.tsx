// A viewport with images: canvas, marks, texts, measurements, scroll bar; pointer, wheel and touch.

import { useComputed } from '@preact/signals'
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks'
import { RefreshCw } from 'lucide-preact'
import { lazy } from 'preact-iso'
import type { DisplayProps } from '../registry'
import { Button } from '../../ui/Button'
import { Spinner } from '../../ui/States'
import { useGestures } from './gestures'
import { Measurements } from './Measurements'
import { Overlay } from './Overlay'
import { ReferenceLines } from './ReferenceLines'
import { ScrollBar } from './ScrollBar'
import { StackController } from './stackController'
import { exposeViewport } from './inspection'
import './stack.css'

// Loaded with the first segmentation of a study.
const SegmentOverlay = lazy(() => import('../seg/SegmentOverlay'))

export function StackDisplay({ set, viewer, cell, isActive }: DisplayProps) {
  const stack = useMemo(() => new StackController(set, viewer), [set, viewer])
  const box = useRef<HTMLDivElement>(null)
  const canvas = useRef<HTMLCanvasElement>(null)

  useEffect(() => {
    viewer.setStack(cell, stack)
    return () => {
      viewer.setStack(cell, undefined)
      stack.close()
    }
  }, [stack, cell])

  useLayoutEffect(() => {
    const element = box.current!
    stack.attach(canvas.current!)
    exposeViewport(element, stack, canvas.current!)
    const measure = (): void => stack.resize({ width: element.clientWidth, height: element.clientHeight })
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [stack])

  useGestures(box, stack, viewer)
  const quality = useComputed(() => stack.shown.value?.quality ?? 'loading')
  const label = useComputed(() => `Image ${(stack.shown.value?.index ?? stack.index.value) + 1} of ${stack.length}`)

  return (
    <div
      ref={box}
      class="stack-view"
      role="application"
      aria-roledescription="image viewport"
      aria-label={label}
      tabIndex={0}
      data-testid="viewport"
      data-state={quality}
      data-index={useComputed(() => stack.shown.value?.index ?? '')}
      data-active={isActive}
    >
      <canvas ref={canvas} aria-hidden="true" />
      {viewer.hasSegmentations.value && <SegmentOverlay stack={stack} viewer={viewer} />}
      <ReferenceLines stack={stack} viewer={viewer} />
      <Measurements stack={stack} viewer={viewer} />
      {viewer.hasText.value && <Overlay stack={stack} viewer={viewer} />}
      <Status stack={stack} />
      {stack.length > 1 && <ScrollBar stack={stack} viewer={viewer} />}
    </div>
  )
}

/** What is wrong with the picture, where it would be. */
function Status({ stack }: { stack: StackController }) {
  const shown = stack.shown.value
  if (shown?.quality === 'error') {
    return (
      <div class="stack-status" role="alert">
        <p>Image {shown.index + 1} cannot be shown.</p>
        <p class="soft">{shown.message}</p>
        <Button icon={<RefreshCw />} onClick={() => stack.frames.retry(shown.index)}>
          Try again
        </Button>
      </div>
    )
  }
  if (!shown || shown.quality === 'loading') {
    return (
      <div class="stack-status loading" role="status" aria-label="Loading the image">
        <Spinner />
      </div>
    )
  }
  return null
}
