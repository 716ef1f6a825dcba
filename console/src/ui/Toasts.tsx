import { signal } from '@preact/signals'
import { X } from 'lucide-preact'
import { IconButton } from './Button'
import './Toasts.css'

interface Toast {
  id: number
  text: string
  look: 'info' | 'good' | 'bad'
}

const toasts = signal<Toast[]>([])
let next = 0

/** A sentence at the edge of the page, for some seconds; bad news stays until it is closed. */
export function toast(text: string, look: Toast['look'] = 'info'): void {
  const id = next++
  toasts.value = [...toasts.value.slice(-3), { id, text, look }]
  if (look !== 'bad') setTimeout(() => dismiss(id), 6000)
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((each) => each.id !== id)
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((each) => (
        <div key={each.id} class={`toast ${each.look}`}>
          <span class="grow">{each.text}</span>
          <IconButton label="Dismiss" onClick={() => dismiss(each.id)}><X /></IconButton>
        </div>
      ))}
    </div>
  )
}
