import { useState } from 'preact/hooks'
import { ScrollText } from 'lucide-preact'
import { explain } from '../../api/errors'
import { Ago } from '../../ui/Ago'
import { Button } from '../../ui/Button'
import { Badge, EmptyState, Loaded, Notice } from '../../ui/States'
import { count } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import '../../ui/Table.css'
import { type EventPage, type ServerEvent, look, searchEvents, text, title } from '../events/events'

/** What the event log has of an image set, newest first. */
export function EventsTab({ store, imageSetId }: { store: string; imageSetId: string }) {
  const first = useResource((signal) => searchEvents({ imageSetId, datastoreId: store }, null, signal), [store, imageSetId])
  return <Loaded resource={first}>{(page) => <List key={imageSetId} store={store} imageSetId={imageSetId} first={page} />}</Loaded>
}

function List({ store, imageSetId, first }: { store: string; imageSetId: string; first: EventPage }) {
  const [more, setMore] = useState<EventPage[]>([])
  const [error, setError] = useState<unknown>()
  const [isBusy, setBusy] = useState(false)
  const pages = [first, ...more]
  const events = pages.flatMap((page) => page.events)
  const next = pages.at(-1)?.nextToken ?? null
  const kept = count(Math.round(first.keptSeconds / 86_400), 'day')
  const load = async () => {
    setBusy(true)
    setError(undefined)
    try {
      const page = await searchEvents({ imageSetId, datastoreId: store }, next)
      setMore([...more, page])
    } catch (failure) {
      setError(failure)
    }
    setBusy(false)
  }
  if (events.length === 0) return <EmptyState icon={<ScrollText />} title={`Nothing happened in the last ${kept}`}>Events are kept here for {kept}. The versions of the image set stay for ever.</EmptyState>
  return (
    <div class="stack">
      <table class="table stacks">
        <thead><tr><th>When</th><th>What</th><th>State</th><th class="right">Version</th></tr></thead>
        <tbody>{events.map((event) => <Row key={event.id} event={event} />)}</tbody>
      </table>
      {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      {next !== null && <div><Button isBusy={isBusy} onClick={() => void load()}>Show earlier events</Button></div>}
      <p class="faint small">Of the last {kept}.</p>
    </div>
  )
}

function Row({ event }: { event: ServerEvent }) {
  return (
    <tr>
      <td class="nowrap" data-label="When"><Ago at={event.time} /></td>
      <td data-label="What"><Badge look={look(event.type)}>{title(event.type)}</Badge></td>
      <td data-label="State"><span class="soft small">{[text(event, 'imageSetState'), text(event, 'imageSetWorkflowStatus')].filter(Boolean).join(' / ')}</span></td>
      <td data-label="Version" class="right">{text(event, 'imageSetVersion')}</td>
    </tr>
  )
}
