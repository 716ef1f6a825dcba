// Where the image of the active viewport crosses this one.

import { apply } from '../model/camera'
import { crossing } from '../model/geometry'
import type { ViewerState } from '../page/viewerState'
import type { StackController } from './stackController'

export function ReferenceLines({ stack, viewer }: { stack: StackController; viewer: ViewerState }) {
  const other = viewer.activeStack.value
  if (!viewer.hasReferenceLines.value || !other || other === stack) return null
  const plane = stack.plane.value
  const line = plane && other.plane.value && crossing(plane, other.plane.value)
  if (!line || !stack.shown.value || stack.shown.value.quality === 'error') return null
  const [from, to] = [apply(stack.matrix.value, { x: line.x1, y: line.y1 }), apply(stack.matrix.value, { x: line.x2, y: line.y2 })]
  const { width, height } = stack.size.value
  return (
    <svg class="reference" width={width} height={height} aria-hidden="true">
      <line x1={from.x} y1={from.y} x2={to.x} y2={to.y} />
    </svg>
  )
}
