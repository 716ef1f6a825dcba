import type { ComponentChildren } from 'preact'
import { CircleAlert, RefreshCw } from 'lucide-preact'
import { ApiError, explain } from '../api/errors'
import { Button } from './Button'
import type { Resource } from './useResource'
import './States.css'

export function Spinner() {
  return <span class="spinner" aria-hidden="true" />
}

/** Grey bars where text will be. */
export function Skeleton({ lines = 4 }: { lines?: number }) {
  return (
    <div class="skeleton" role="status" aria-label="Loading">
      {Array.from({ length: lines }, (_, index) => (
        <span key={index} class={`bar w${index % 4}`} />
      ))}
    </div>
  )
}

/** Nothing is here, and what to do about it. `isPage`: there is no other heading. */
export function EmptyState({ icon, title, children, action, isPage }: { icon?: ComponentChildren; title: string; children?: ComponentChildren; action?: ComponentChildren; isPage?: boolean }) {
  return (
    <div class="state">
      {icon && <div class="state-icon" aria-hidden="true">{icon}</div>}
      {isPage ? <h1>{title}</h1> : <h2>{title}</h2>}
      {children && <p class="soft">{children}</p>}
      {action && <div class="row-wrap">{action}</div>}
    </div>
  )
}

export function ErrorState({ error, retry, title }: { error: unknown; retry?: () => void; title?: string }) {
  const isDenied = error instanceof ApiError && error.status === 403
  return (
    <div class="state" role="alert">
      <div class="state-icon bad" aria-hidden="true"><CircleAlert /></div>
      <h2>{title ?? (isDenied ? 'You may not see this' : 'This could not be loaded')}</h2>
      <p class="soft">{explain(error)}</p>
      {error instanceof ApiError && error.requestId && <p class="faint small">Request <code>{error.requestId}</code></p>}
      {retry && <Button icon={<RefreshCw />} onClick={retry}>Try again</Button>}
    </div>
  )
}

/** The states of a resource: skeleton, error with a retry, or its data. Data stay on show while they are loaded again. */
export function Loaded<T>({ resource, lines, children }: { resource: Resource<T>; lines?: number; children: (data: T) => ComponentChildren }) {
  if (resource.data !== undefined) {
    return (
      <>
        {resource.error !== undefined && <Notice look="bad">{explain(resource.error)}</Notice>}
        {children(resource.data)}
      </>
    )
  }
  if (resource.error !== undefined) return <ErrorState error={resource.error} retry={resource.reload} />
  return <Skeleton lines={lines} />
}

export function Notice({ look = 'info', children }: { look?: 'info' | 'good' | 'warn' | 'bad'; children: ComponentChildren }) {
  return <div class={`notice ${look}`} role={look === 'bad' ? 'alert' : 'status'}>{children}</div>
}

export function Badge({ look = 'plain', children, title }: { look?: 'plain' | 'accent' | 'good' | 'warn' | 'bad'; children: ComponentChildren; title?: string }) {
  return <span class={`badge ${look}`} title={title}>{children}</span>
}

/** `value` of `max`, or indeterminate without a value. `label` names it for screen readers. */
export function Progress({ value, max = 1, label, look = 'plain' }: { value?: number; max?: number; label: string; look?: 'plain' | 'good' | 'bad' }) {
  return <progress class={`progress ${look}`} aria-label={label} max={max} value={value} />
}
