// Keys of the viewer; `?` shows them.

import { useEffect } from 'preact/hooks'
import { draft } from '../stack/measureDraft'
import { canBePlanes } from '../volume/volume'
import { LAYOUTS, type ViewerState } from './viewerState'

export interface KeyHelp {
  readonly keys: string
  readonly does: string
}

export const KEYS: readonly { readonly title: string; readonly keys: readonly KeyHelp[] }[] = [
  {
    title: 'Images',
    keys: [
      { keys: '↑ ↓', does: 'Previous, next image' },
      { keys: 'Page ↑ ↓', does: 'Ten images' },
      { keys: 'Home End', does: 'First, last image' },
      { keys: '[ ]', does: 'Previous, next series' },
      { keys: 'Space', does: 'Play or stop' }
    ]
  },
  {
    title: 'Window',
    keys: [
      { keys: '1 … 9', does: 'Presets, in their order' },
      { keys: 'A', does: 'Automatic' },
      { keys: 'I', does: 'Invert' }
    ]
  },
  {
    title: 'View',
    keys: [
      { keys: '+ −', does: 'Zoom' },
      { keys: '⇧ arrows', does: 'Pan' },
      { keys: 'F', does: 'Fit' },
      { keys: 'O', does: 'One to one' },
      { keys: 'R', does: 'Rotate' },
      { keys: 'H V', does: 'Flip' },
      { keys: 'X', does: 'Reset everything' }
    ]
  },
  {
    title: 'Tools',
    keys: [
      { keys: 'W S P Z', does: 'Window, scroll, pan, zoom' },
      { keys: 'L N', does: 'Length, angle' },
      { keys: 'Delete', does: 'Remove the chosen measurement' }
    ]
  },
  {
    title: 'Layout',
    keys: [
      { keys: 'G', does: 'Next layout' },
      { keys: 'M', does: 'Planes through a volume, and back' },
      { keys: 'Tab, ↑ ↓', does: 'In planes: the next one, scroll it' },
      { keys: 'Tab', does: 'Next viewport' },
      { keys: 'Double click', does: 'One viewport alone, and back' },
      { keys: 'T', does: 'Attributes' },
      { keys: 'D', does: 'Texts on the image' },
      { keys: '?', does: 'This list' }
    ]
  },
  {
    title: 'Mouse and touch',
    keys: [
      { keys: 'Left, one finger', does: 'The chosen tool' },
      { keys: 'Middle', does: 'Pan' },
      { keys: 'Right', does: 'Zoom' },
      { keys: 'Wheel', does: 'Scroll; with Ctrl zoom' },
      { keys: 'Two fingers', does: 'Pan and zoom' }
    ]
  }
]

const PAN = 40

export function useKeys(viewer: ViewerState, open: { help: () => void; tags: () => void }): void {
  useEffect(() => {
    const down = (event: KeyboardEvent): void => {
      const target = event.target instanceof HTMLElement ? event.target : document.body
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return
      if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && (target as HTMLInputElement).type !== 'range') return
      // A button that has the focus is pressed by these; arrows move in an open menu.
      if ((event.key === ' ' || event.key === 'Enter') && target.closest('button, a')) return
      if (target.closest('[role="menu"]')) return
      if (handle(viewer, event, open)) event.preventDefault()
    }
    document.addEventListener('keydown', down)
    return () => document.removeEventListener('keydown', down)
  }, [viewer])
}

function handle(viewer: ViewerState, event: KeyboardEvent, open: { help: () => void; tags: () => void }): boolean {
  const stack = viewer.activeStack.value
  const shift = event.shiftKey
  switch (event.key) {
    case '?':
      open.help()
      return true
    case 'Escape':
      draft.value = undefined
      if (stack) stack.selected.value = undefined
      return false
    case 't':
      open.tags()
      return true
    case 'd':
      viewer.hasText.value = !viewer.hasText.value
      return true
    case '[':
      viewer.step(-1)
      return true
    case ']':
      viewer.step(1)
      return true
    case 'm':
      if (viewer.activeSet.value?.kind === 'volume' || canBePlanes(viewer.activeSet.value)) viewer.togglePlanes()
      return true
    case 'g': {
      const at = viewer.isSingle.value ? 0 : LAYOUTS.findIndex(({ rows, columns }) => rows === viewer.layout.value.rows && columns === viewer.layout.value.columns)
      viewer.setLayout(LAYOUTS[(at + 1) % LAYOUTS.length]!)
      return true
    }
  }
  const tool = ({ w: 'window', s: 'scroll', p: 'pan', z: 'zoom', l: 'length', n: 'angle' } as const)[event.key as 'w']
  if (tool) {
    draft.value = undefined
    viewer.tool.value = tool
    return true
  }
  if (!stack) return false
  const pan: Record<string, [number, number]> = { ArrowUp: [0, -PAN], ArrowDown: [0, PAN], ArrowLeft: [-PAN, 0], ArrowRight: [PAN, 0] }
  if (shift && pan[event.key]) {
    stack.pan(...pan[event.key]!)
    return true
  }
  switch (event.key) {
    case 'ArrowUp':
    case 'ArrowLeft':
      viewer.scroll(stack, -1)
      return true
    case 'ArrowDown':
    case 'ArrowRight':
      viewer.scroll(stack, 1)
      return true
    case 'PageUp':
      viewer.scroll(stack, -10)
      return true
    case 'PageDown':
      viewer.scroll(stack, 10)
      return true
    case 'Home':
      viewer.scroll(stack, -stack.length)
      return true
    case 'End':
      viewer.scroll(stack, stack.length)
      return true
    case ' ':
      if (stack.isPlaying.value) stack.stop()
      else stack.play()
      return true
    case '+':
    case '=':
      stack.zoomBy(1.2)
      return true
    case '-':
      stack.zoomBy(1 / 1.2)
      return true
    case 'a':
      stack.automatic()
      return true
    case 'i':
      stack.invert()
      return true
    case 'f':
      stack.fit()
      return true
    case 'o':
      stack.oneToOne()
      return true
    case 'r':
      stack.rotate(90)
      return true
    case 'h':
      stack.flip('x')
      return true
    case 'v':
      stack.flip('y')
      return true
    case 'x':
      stack.reset()
      return true
    case 'Delete':
    case 'Backspace':
      stack.remove(stack.selected.value)
      return true
  }
  if (/^[1-9]$/.test(event.key)) {
    const { file, modality } = stack.presets.value
    const number = Number(event.key) - 1
    const preset = [...file, ...modality][number]
    if (preset) stack.choose(preset, number < file.length ? number : undefined)
    return preset !== undefined
  }
  return false
}
