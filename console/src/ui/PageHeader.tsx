import type { ComponentChildren } from 'preact'

/** Heading of a page with its main actions. `lead` is one sentence under it. */
export function PageHeader({ title, lead, actions }: { title: ComponentChildren; lead?: ComponentChildren; actions?: ComponentChildren }) {
  return (
    <div class={`page-header ${typeof title === 'string' && title.length < 24 ? '' : 'long'}`}>
      <h1>{title}</h1>
      {lead && <p class="lead">{lead}</p>}
      {actions && <div class="row-wrap">{actions}</div>}
    </div>
  )
}
