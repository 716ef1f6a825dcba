import type { ComponentChildren } from 'preact'
import './Facts.css'

/** Names and their values, one below the other: the only such list, so that it looks alike on all pages. */
export function Facts({ children, look = 'normal' }: { children: ComponentChildren; look?: 'normal' | 'narrow' }) {
  return <dl class={`facts ${look}`}>{children}</dl>
}

/** A fact that is not known is said to be so by a dash. */
export function Fact({ name, children, testId }: { name: string; children: ComponentChildren; testId?: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd data-testid={testId}>{children === '' || children === null || children === undefined ? <span class="faint">—</span> : children}</dd>
    </div>
  )
}
