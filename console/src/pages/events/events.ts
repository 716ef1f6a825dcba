// Events of the last days: POST /console/api/events.

import { call } from '../../api/consoleApi'

export type EventKind = 'imageset' | 'job' | 'datastore'

export interface ServerEvent {
  id: string
  time: string
  type: string
  kind: EventKind
  detail: Record<string, unknown>
}

export interface EventPage {
  events: ServerEvent[]
  nextToken: string | null
  keptSeconds: number
}

export interface EventFilter {
  datastoreId?: string
  imageSetId?: string
  jobId?: string
  kinds?: EventKind[]
}

/** At least one event if more follow: pages of the server may be empty. */
export async function searchEvents(filter: EventFilter, nextToken: string | null, signal?: AbortSignal): Promise<EventPage> {
  let page: EventPage
  do {
    page = await call<EventPage>('events', { body: { ...filter, nextToken, maxResults: 50 }, signal })
    nextToken = page.nextToken
  } while (page.events.length === 0 && nextToken !== null)
  return page
}

/** The type of an event as a sentence of the page: what AWS calls “Image Set Updated” is “Image set updated”. */
export function title(type: string): string {
  return type.slice(0, 1) + type.slice(1).toLowerCase()
}

/** Whether an event is good, bad or no news, by what it says. */
export function look(type: string): 'plain' | 'good' | 'bad' | 'warn' {
  if (/Failed$/.test(type)) return 'bad'
  if (/(Deleting|Deleted)$/.test(type)) return 'warn'
  if (/(Created|Completed|Copied|Updated)$/.test(type)) return 'good'
  return 'plain'
}

/** `2026-11-30` of an event, in this person's time zone. */
export function day(time: string): string {
  return new Date(time).toLocaleDateString(undefined, { weekday: 'long', day: 'numeric', month: 'long' })
}

export function text(event: ServerEvent, name: string): string | null {
  const value = event.detail[name]
  return typeof value === 'string' ? value : null
}
