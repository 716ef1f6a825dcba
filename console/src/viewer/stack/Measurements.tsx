// Lengths and angles over an image. They belong to one frame, in its pixels.

import { apply, invert, type Point } from '../model/camera'
import { regionsOf } from '../model/spacing'
import type { ViewerState } from '../page/viewerState'
import { type Measurement, read } from './measure'
import { draft } from './measureDraft'
import type { StackController } from './stackController'

export function Measurements({ stack, viewer }: { stack: StackController; viewer: ViewerState }) {
  const shown = stack.shown.value
  const current = draft.value?.stack === stack ? draft.value : undefined
  if (current?.message) return <p class="stack-hint" role="status">{current.message}</p>
  if (!shown || shown.quality !== 'full') return null
  const own = stack.measurementsOf(shown.index)
  if (own.length === 0 && !current) return null
  const { width, height } = stack.size.value
  return (
    <svg class="measurements" width={width} height={height} aria-label="Measurements">
      {own.map((one) => (
        <Drawn key={one.id} measurement={one} stack={stack} isSelected={stack.selected.value === one.id} viewer={viewer} />
      ))}
      {current && current.points.length > 1 && <Drawn measurement={{ id: 0, kind: current.kind, points: current.points }} stack={stack} isSelected={false} viewer={viewer} />}
    </svg>
  )
}

function Drawn({ measurement, stack, isSelected, viewer }: { measurement: Measurement; stack: StackController; isSelected: boolean; viewer: ViewerState }) {
  const matrix = stack.matrix.value
  const points = measurement.points.map((point) => apply(matrix, point))
  const isWhole = measurement.points.length === (measurement.kind === 'length' ? 2 : 3)
  const reading = isWhole ? read(measurement, stack.spacing.value, regionsOf(stack.attributes.value)) : undefined
  const label = labelAt(points, stack.size.value.width)
  const path = points.map(({ x, y }) => `${x},${y}`).join(' ')
  const isDraft = measurement.id === 0

  const drag = (point: number) => (event: PointerEvent) => {
    event.stopPropagation()
    stack.selected.value = measurement.id
    const handle = event.currentTarget as SVGElement
    const box = handle.closest('.stack-view')!
    handle.setPointerCapture(event.pointerId)
    const move = (moved: PointerEvent): void => {
      const { left, top } = box.getBoundingClientRect()
      const to: Point = { x: moved.clientX - left, y: moved.clientY - top }
      stack.move(measurement.id, point, invert(stack.matrix.value, to))
    }
    const end = (): void => {
      handle.removeEventListener('pointermove', move)
      handle.removeEventListener('pointerup', end)
      handle.removeEventListener('pointercancel', end)
    }
    handle.addEventListener('pointermove', move)
    handle.addEventListener('pointerup', end)
    handle.addEventListener('pointercancel', end)
  }

  const select = (event: Event): void => {
    event.stopPropagation()
    stack.selected.value = measurement.id
  }

  return (
    <g class={`measurement ${isSelected ? 'selected' : ''}`} data-testid={isDraft ? undefined : 'measurement'}>
      <polyline class="halo" points={path} />
      <polyline class="line" points={path} />
      {!isDraft && <polyline class="hit" points={path} data-own-gestures onPointerDown={select} />}
      {points.map(({ x, y }, i) => (
        <g key={i}>
          <circle class="end" cx={x} cy={y} r={isSelected ? 4 : 2.5} />
          {!isDraft && <circle class="grip" cx={x} cy={y} r={viewer.isTouch ? 22 : 10} data-own-gestures onPointerDown={drag(i)} />}
        </g>
      ))}
      {reading && (
        <text class="reading" x={label.x} y={label.y} text-anchor={label.anchor}>
          {reading.text}
          {reading.note && <tspan class="note" x={label.x} dy="1.3em">{reading.note}</tspan>}
        </text>
      )}
    </g>
  )
}

function labelAt(points: readonly Point[], width: number): Point & { anchor: 'start' | 'end' } {
  const right = points.reduce((best, point) => (point.x > best.x ? point : best))
  return right.x > width - 110 ? { x: right.x - 10, y: right.y - 10, anchor: 'end' } : { x: right.x + 10, y: right.y + 4, anchor: 'start' }
}
