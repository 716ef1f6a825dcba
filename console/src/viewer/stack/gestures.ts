// Pointer, wheel and touch of a viewport. Left does what the tool says, middle pans, right zooms, the wheel scrolls;
// one finger does what the tool says, two pan and zoom.

import { type RefObject } from 'preact'
import { useEffect } from 'preact/hooks'
import { invert, type Point } from '../model/camera'
import type { Tool, ViewerState } from '../page/viewerState'
import { pointsOf } from './measure'
import { draft } from './measureDraft'
import type { StackController } from './stackController'

type Action = Tool

/** CSS pixels of a drag for one image. */
const SCROLL_STEP = 8
const WHEEL_STEP = 40

export function useGestures(box: RefObject<HTMLElement>, stack: StackController, viewer: ViewerState): void {
  useEffect(() => {
    const element = box.current!
    const pointers = new Map<number, Point>()
    let action: Action | undefined
    let scrollRest = 0
    let wheelRest = 0
    let lastWheel = 0

    const at = (event: MouseEvent): Point => {
      const { left, top } = element.getBoundingClientRect()
      return { x: event.clientX - left, y: event.clientY - top }
    }
    const imageAt = (point: Point): Point => invert(stack.matrix.value, point)

    const down = (event: PointerEvent): void => {
      if ((event.target as Element).closest('[data-own-gestures], button')) return
      element.focus({ preventScroll: true })
      viewer.pointer.value = undefined
      pointers.set(event.pointerId, at(event))
      try {
        element.setPointerCapture(event.pointerId)
      } catch {
        // The pointer is gone already.
      }
      if (pointers.size > 1) {
        draft.value = undefined
        action = undefined
        return
      }
      scrollRest = 0
      const tool = viewer.tool.value
      action = event.button === 1 ? 'pan' : event.button === 2 ? 'zoom' : event.ctrlKey ? 'zoom' : event.shiftKey ? 'pan' : tool
      if (action === 'length' || action === 'angle') measureDown(event)
    }

    const measureDown = (event: PointerEvent): void => {
      const kind = action as 'length' | 'angle'
      const shown = stack.shown.value
      // The picture on the canvas may still be that of the image before.
      if (shown?.quality !== 'full' || shown.index !== stack.index.value) {
        draft.value = { stack, kind, points: [], message: 'Measuring waits for the full resolution.' }
        return
      }
      stack.selected.value = undefined
      const point = imageAt(at(event))
      const before = draft.value?.stack === stack && draft.value.kind === kind && draft.value.points.length > 0 ? draft.value.points : undefined
      if (!before) draft.value = { stack, kind, points: [point, point] }
      else if (before.length < pointsOf(kind)) draft.value = { stack, kind, points: [...before.slice(0, -1), point, point] }
      else draft.value = { stack, kind, points: [...before.slice(0, -1), point] }
    }

    const move = (event: PointerEvent): void => {
      const now = at(event)
      const before = pointers.get(event.pointerId)
      if (!before) {
        viewer.pointer.value = event.pointerType === 'touch' ? undefined : { stack, at: now }
        if (draft.value?.stack === stack && draft.value.points.length > 1) moveDraft(now)
        return
      }
      if (pointers.size === 2) {
        const other = [...pointers].find(([id]) => id !== event.pointerId)![1]
        const factor = distance(now, other) / Math.max(1, distance(before, other))
        const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 }
        stack.pan((now.x - before.x) / 2, (now.y - before.y) / 2)
        if (Number.isFinite(factor) && factor > 0) stack.zoomBy(factor, middle)
        pointers.set(event.pointerId, now)
        return
      }
      const [dx, dy] = [now.x - before.x, now.y - before.y]
      pointers.set(event.pointerId, now)
      switch (action) {
        case 'window':
          stack.drag(dx, dy)
          break
        case 'pan':
          stack.pan(dx, dy)
          break
        case 'zoom':
          stack.zoomBy(Math.exp(-dy / 150))
          break
        case 'scroll': {
          scrollRest += dy
          // A drag over the whole height reaches every image of a long series.
          const step = Math.max(2, Math.min(SCROLL_STEP, (stack.size.value.height * 0.8) / stack.length))
          const by = Math.trunc(scrollRest / step)
          scrollRest -= by * step
          if (by !== 0) viewer.scroll(stack, by)
          break
        }
        case 'length':
        case 'angle':
          moveDraft(now)
          break
      }
    }

    const moveDraft = (now: Point): void => {
      const current = draft.value
      if (current?.stack !== stack || current.points.length < 2) return
      draft.value = { ...current, points: [...current.points.slice(0, -1), imageAt(now)] }
    }

    const up = (event: PointerEvent): void => {
      if (!pointers.delete(event.pointerId)) return
      if (pointers.size > 0) return
      const current = draft.value
      if ((action === 'length' || action === 'angle') && current?.stack === stack) {
        const [last, before] = [current.points.at(-1), current.points.at(-2)]
        const isSamePlace = !last || !before || distance(last, before) * stack.zoom.value < 4
        // Dragged from end to end, or clicked point by point: then the next point follows the pointer.
        if (current.points.length === 0) setTimeout(() => draft.value?.points.length === 0 && (draft.value = undefined), 1500)
        else if (isSamePlace) draft.value = current
        else if (current.points.length === pointsOf(current.kind)) {
          stack.add(current.kind, current.points)
          draft.value = undefined
        } else draft.value = { ...current, points: [...current.points, last] }
      }
      action = undefined
    }

    const wheel = (event: WheelEvent): void => {
      event.preventDefault()
      const lines = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaMode === 2 ? event.deltaY * 400 : event.deltaY
      if (event.ctrlKey) {
        stack.zoomBy(Math.exp(-lines / 300), at(event))
        return
      }
      // A notch of a wheel is one image, whatever the browser makes of it; touch pads scroll by distance.
      const isNotch = event.deltaMode !== 0 || Math.abs(event.deltaY) >= 50
      if (event.timeStamp - lastWheel > 300) wheelRest = 0
      lastWheel = event.timeStamp
      wheelRest += isNotch ? Math.sign(lines) * WHEEL_STEP : lines
      const by = Math.trunc(wheelRest / WHEEL_STEP)
      wheelRest -= by * WHEEL_STEP
      if (by !== 0) viewer.scroll(stack, by)
    }

    const leave = (): void => {
      if (viewer.pointer.value?.stack === stack) viewer.pointer.value = undefined
    }
    const noMenu = (event: Event): void => event.preventDefault()
    const doubleClick = (event: MouseEvent): void => {
      if (!(event.target as Element).closest('[data-own-gestures], button') && viewer.tool.value !== 'length' && viewer.tool.value !== 'angle') viewer.toggleSingle()
    }

    element.addEventListener('pointerdown', down)
    element.addEventListener('pointermove', move)
    element.addEventListener('pointerup', up)
    element.addEventListener('pointercancel', up)
    element.addEventListener('pointerleave', leave)
    element.addEventListener('wheel', wheel, { passive: false })
    element.addEventListener('contextmenu', noMenu)
    element.addEventListener('dblclick', doubleClick)
    return () => {
      element.removeEventListener('pointerdown', down)
      element.removeEventListener('pointermove', move)
      element.removeEventListener('pointerup', up)
      element.removeEventListener('pointercancel', up)
      element.removeEventListener('pointerleave', leave)
      element.removeEventListener('wheel', wheel)
      element.removeEventListener('contextmenu', noMenu)
      element.removeEventListener('dblclick', doubleClick)
    }
  }, [stack, viewer])
}

function distance(one: Point, other: Point): number {
  return Math.hypot(one.x - other.x, one.y - other.y)
}
