// The position in a stack, as a slider; behind it, which frames are there.

import { useEffect, useRef } from 'preact/hooks'
import type { ViewerState } from '../page/viewerState'
import type { StackController } from './stackController'

export function ScrollBar({ stack, viewer }: { stack: StackController; viewer: ViewerState }) {
  const bar = useRef<HTMLCanvasElement>(null)
  const loaded = stack.loaded.value
  const height = stack.size.value.height
  useEffect(() => {
    const canvas = bar.current
    const context = canvas?.getContext('2d')
    if (!canvas || !context) return
    const rows = Math.max(1, Math.round(height * 0.8))
    ;[canvas.width, canvas.height] = [1, rows]
    const colours = getComputedStyle(canvas)
    const [full, preview] = [colours.getPropertyValue('--loaded'), colours.getPropertyValue('--preview')]
    for (let row = 0; row < rows; row++) {
      const { kind } = stack.frames.state(Math.min(stack.length - 1, Math.floor((row * stack.length) / rows)))
      if (kind !== 'full' && kind !== 'preview') continue
      context.fillStyle = kind === 'full' ? full : preview
      context.fillRect(0, row, 1, 1)
    }
  }, [loaded, height, stack])
  const index = stack.index.value
  return (
    <div class="scrollbar" data-own-gestures>
      <canvas ref={bar} aria-hidden="true" />
      <input
        type="range"
        aria-label="Image"
        aria-valuetext={`${index + 1} of ${stack.length}`}
        min={0}
        max={stack.length - 1}
        value={index}
        tabIndex={-1}
        onInput={(event) => viewer.scroll(stack, Number(event.currentTarget.value) - stack.index.value)}
      />
    </div>
  )
}
