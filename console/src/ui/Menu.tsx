import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { Check } from 'lucide-preact'
import { Button, type ButtonProps, IconButton } from './Button'
import './Menu.css'

export interface MenuItem {
  label: string
  icon?: ComponentChildren
  onSelect?: () => void
  href?: string
  look?: 'plain' | 'danger'
  isChecked?: boolean
  /** What is said beside the label, fainter. */
  note?: string
}

/** A button that opens a list of actions; arrows move in it, Escape closes it. */
export function Menu({ label, icon, items, head, children, look, align = 'end' }: { label: string; icon?: ComponentChildren; items: (MenuItem | null)[]; head?: ComponentChildren; children?: ComponentChildren; look?: ButtonProps['look']; align?: 'start' | 'end' }) {
  const [isOpen, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const button = useRef<HTMLButtonElement>(null)
  const id = useId()
  const entries = () => Array.from(root.current?.querySelectorAll<HTMLElement>('[role^="menuitem"]') ?? [])
  useEffect(() => {
    if (!isOpen) return
    entries()[0]?.focus()
    const outside = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false)
    }
    document.addEventListener('pointerdown', outside)
    return () => document.removeEventListener('pointerdown', outside)
  }, [isOpen])
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape' && isOpen) {
      event.stopPropagation()
      setOpen(false)
      button.current?.focus()
    }
    if (!isOpen || !['ArrowDown', 'ArrowUp', 'Home', 'End'].includes(event.key)) return
    event.preventDefault()
    const all = entries()
    const at = all.indexOf(document.activeElement as HTMLElement)
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key] ?? 0
    all.at(to % all.length)?.focus()
  }
  const props = { ref: button, 'aria-haspopup': 'menu' as const, 'aria-expanded': isOpen, 'aria-controls': isOpen ? id : undefined, onClick: () => setOpen(!isOpen) }
  return (
    <div class="menu" ref={root} onKeyDown={onKeyDown} onBlur={(event) => { if (!root.current?.contains(event.relatedTarget as Node | null)) setOpen(false) }}>
      {children === undefined ? <IconButton label={label} {...props}>{icon}</IconButton> : <Button look={look} icon={icon} {...props} aria-label={label}>{children}</Button>}
      {isOpen && (
        <div class={`menu-list ${align}`}>
          {head !== undefined && <div class="menu-head">{head}</div>}
          <div role="menu" id={id} aria-label={label}>
            {items.map((item, index) =>
              item === null ? (
                <hr key={index} role="separator" />
              ) : item.href !== undefined ? (
                <a key={index} role="menuitem" tabIndex={-1} class={`menu-item ${item.look ?? ''}`} href={item.href} onClick={() => setOpen(false)}>{item.icon}{item.label}</a>
              ) : (
                <button key={index} type="button" role={item.isChecked === undefined ? 'menuitem' : 'menuitemradio'} aria-checked={item.isChecked} tabIndex={-1} class={`menu-item ${item.look ?? ''}`} onClick={() => { setOpen(false); button.current?.focus(); item.onSelect?.() }}>{item.icon}{item.label}{item.note !== undefined && <> <span class="menu-note number">{item.note}</span></>}{item.isChecked !== undefined && <Check class={`menu-check ${item.isChecked ? '' : 'off'}`} aria-hidden="true" />}</button>
              )
            )}
          </div>
        </div>
      )}
    </div>
  )
}
