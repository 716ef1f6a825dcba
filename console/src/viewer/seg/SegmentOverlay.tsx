// Segments over the image that they were drawn on, and a list to hide them.

import { signal, useComputed, useSignal } from '@preact/signals'
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks'
import { Layers } from 'lucide-preact'
import { IconButton } from '../../ui/Button'
import type { ViewerState } from '../page/viewerState'
import type { StackController } from '../stack/stackController'
import { Masks } from './masks'
import { SEGMENTATION, LABEL_MAP, SegmentIndex, segmentationsOf } from './segmentation'
import './segments.css'

/** Segments that the person has hidden, by id; the same in all viewports. */
const hidden = signal<ReadonlySet<string>>(new Set())
const isListOpen = signal(true)
const OPACITY = 0.45

export default function SegmentOverlay({ stack, viewer }: { stack: StackController; viewer: ViewerState }) {
  const index = useComputed(() => new SegmentIndex(segmentationsOf(viewer.sets.value)))
  const round = useSignal(0)
  const masks = useMemo(() => new Masks(viewer.source, () => round.value++), [viewer])
  useEffect(() => () => masks.close(), [masks])
  const canvas = useRef<HTMLCanvasElement>(null)
  const isSegmentation = [SEGMENTATION, LABEL_MAP].includes(stack.set.sopClass)
  const shown = stack.shown.value
  const found = isSegmentation || !shown || shown.quality === 'error' ? [] : index.value.on(shown.instance, shown.frame)
  const { width, height } = stack.size.value
  const matrix = stack.matrix.value
  const off = hidden.value
  void round.value
  const failures: string[] = []
  const wanted = found.flatMap((each) => {
    const segments = each.segment ? [each.segment] : each.segmentation.isLabelMap ? each.segmentation.segments : []
    return segments.filter((segment) => !off.has(segment.id)).map((segment) => ({ each, segment }))
  })
  masks.show(wanted.length)
  const pictures = wanted.flatMap(({ each, segment }) => {
    const mask = masks.get(each, segment)
    if (mask.kind === 'error') failures.push(`${segment.label}: ${mask.message}`)
    return mask.kind === 'ready' ? [{ picture: mask.picture, toImage: each.toImage }] : []
  })

  useLayoutEffect(() => {
    const element = canvas.current
    const context = element?.getContext('2d')
    if (!element || !context) return
    const ratio = devicePixelRatio
    if (element.width !== Math.round(width * ratio) || element.height !== Math.round(height * ratio)) {
      element.width = Math.round(width * ratio)
      element.height = Math.round(height * ratio)
    }
    context.setTransform(1, 0, 0, 1, 0, 0)
    context.clearRect(0, 0, element.width, element.height)
    context.imageSmoothingEnabled = false
    context.globalAlpha = OPACITY
    for (const { picture, toImage } of pictures) {
      context.setTransform(ratio, 0, 0, ratio, 0, 0)
      context.transform(matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f)
      context.transform(toImage.a, toImage.b, toImage.c, toImage.d, toImage.e, toImage.f)
      context.drawImage(picture, 0, 0)
    }
  })

  const segmentations = index.value.segmentations.filter((one) => one.segments.length > 0)
  if (isSegmentation || segmentations.length === 0) return null
  const onImage = new Set(found.flatMap(({ segment, segmentation }) => (segment ? [segment.id] : segmentation.segments.map(({ id }) => id))))
  return (
    <>
      <canvas ref={canvas} class="segments" aria-hidden="true" data-testid="segments" data-count={pictures.length} />
      <div class="segment-list" onPointerDown={(event) => event.stopPropagation()} onWheel={(event) => event.stopPropagation()}>
        <IconButton label={isListOpen.value ? 'Hide the list of segments' : 'Show the list of segments'} aria-expanded={isListOpen.value} onClick={() => (isListOpen.value = !isListOpen.value)}><Layers /></IconButton>
        {isListOpen.value && segmentations.map((one) => (
          <fieldset key={`${one.instance.origin.imageSetId}/${one.instance.uid}`}>
            <legend>{one.name}</legend>
            {one.segments.map((segment) => (
              <label key={segment.id} class={onImage.has(segment.id) ? '' : 'elsewhere'} title={onImage.has(segment.id) ? undefined : 'Not on this image'}>
                <input type="checkbox" checked={!off.has(segment.id)} onChange={() => toggle(segment.id)} />
                <svg width="10" height="10" aria-hidden="true"><rect width="10" height="10" rx="2" style={{ fill: segment.colour }} /></svg>
                <span>{segment.label}</span>
              </label>
            ))}
          </fieldset>
        ))}
        {failures.length > 0 && <button type="button" class="segment-error" onClick={() => masks.retry()}>Not shown: {failures.join('; ')}. Try again</button>}
      </div>
    </>
  )
}

function toggle(id: string): void {
  const next = new Set(hidden.value)
  if (!next.delete(id)) next.add(id)
  hidden.value = next
}
