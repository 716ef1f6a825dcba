import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'

interface TreeRow {
  id: string
  depth: number
}

interface Props<T extends TreeRow> {
  rows: readonly T[]
  label: string
  active: string | null
  onActive: (row: T) => void
  /** Opens or closes a row; `isOpenOf` is null for rows that have nothing inside. */
  onToggle: (row: T) => void
  isOpenOf: (row: T) => boolean | null
  classOf: (row: T) => string
  render: (row: T) => ComponentChildren
  /** Enter on a row. */
  onEnter?: (row: T) => void
  /** Escape: no row is active any more. */
  onEscape?: () => void
}

const TALL = '(max-width: 820px)'
const AROUND = 12

/** A tree of any length of which only the rows in sight are drawn. One row is active; arrows move it, open and close. */
export function VirtualTree<T extends TreeRow>({ rows, label, active, onActive, onToggle, isOpenOf, classOf, render, onEnter, onEscape }: Props<T>) {
  const box = useRef<HTMLDivElement>(null)
  const [height, setHeight] = useState(() => (matchMedia(TALL).matches ? 48 : 30))
  const [view, setView] = useState({ top: 0, height: 600 })
  useEffect(() => {
    const query = matchMedia(TALL)
    const change = () => setHeight(query.matches ? 48 : 30)
    query.addEventListener('change', change)
    return () => query.removeEventListener('change', change)
  }, [])
  const measure = () => {
    const element = box.current
    if (element !== null) setView({ top: element.scrollTop, height: element.clientHeight })
  }
  useLayoutEffect(() => {
    measure()
    const observer = new ResizeObserver(measure)
    if (box.current !== null) observer.observe(box.current)
    return () => observer.disconnect()
  }, [])
  const at = active === null ? -1 : rows.findIndex((row) => row.id === active)
  const show = (index: number) => {
    const element = box.current
    if (element === null || index < 0) return
    const top = index * height
    if (top < element.scrollTop) element.scrollTop = top
    else if (top + height > element.scrollTop + element.clientHeight) element.scrollTop = top + height - element.clientHeight
  }
  useEffect(() => show(at), [active])
  const move = (to: number) => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, to))]
    if (row !== undefined) onActive(row)
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const row = rows[at]
    const page = Math.max(1, Math.floor(view.height / height) - 1)
    if (event.key === 'ArrowDown') move(at + 1)
    else if (event.key === 'ArrowUp') move(at - 1)
    else if (event.key === 'PageDown') move(at + page)
    else if (event.key === 'PageUp') move(at - page)
    else if (event.key === 'Home') move(0)
    else if (event.key === 'End') move(rows.length - 1)
    else if (event.key === 'ArrowRight' && row !== undefined) {
      if (isOpenOf(row) === false) onToggle(row)
      else if (isOpenOf(row) === true) move(at + 1)
    } else if (event.key === 'ArrowLeft' && row !== undefined) {
      if (isOpenOf(row) === true) onToggle(row)
      else {
        let above = at - 1
        while (above >= 0 && rows[above]!.depth >= row.depth) above--
        if (above >= 0) move(above)
      }
    } else if (event.key === ' ' && row !== undefined && isOpenOf(row) !== null) onToggle(row)
    else if (event.key === 'Enter' && row !== undefined) onEnter?.(row)
    else if (event.key === 'Escape' && row !== undefined) onEscape?.()
    else return
    event.preventDefault()
  }
  const first = Math.max(0, Math.floor(view.top / height) - AROUND)
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / height) + AROUND)
  return (
    <div
      class="tree"
      ref={box}
      role="tree"
      aria-label={label}
      tabIndex={0}
      aria-activedescendant={at >= first && at < last ? domId(active) : undefined}
      onScroll={measure}
      onKeyDown={onKeyDown}
      onFocus={() => at < 0 && move(0)}
    >
      <div class="tree-room" role="presentation" style={{ height: `${rows.length * height}px` }}>
        {rows.slice(first, last).map((row, index) => {
          const isOpen = isOpenOf(row)
          return (
            <div
              key={row.id}
              id={domId(row.id)}
              role="treeitem"
              aria-level={row.depth + 1}
              aria-expanded={isOpen ?? undefined}
              aria-selected={row.id === active}
              class={`tree-row ${row.id === active ? 'active' : ''} ${classOf(row)}`}
              style={{ top: `${(first + index) * height}px`, '--depth': Math.min(row.depth, 12) }}
              onClick={() => {
                onActive(row)
                if (isOpen !== null) onToggle(row)
              }}
            >
              {render(row)}
            </div>
          )
        })}
      </div>
    </div>
  )
}

function domId(id: string | null): string {
  return `row-${id}`.replace(/[^\w.:/-]/g, '_')
}
