import { useEffect, useRef, useState } from 'preact/hooks'
import { Braces, Database, Images, ListChecks, RefreshCw, ScrollText } from 'lucide-preact'
import { explain, isAbort } from '../../api/errors'
import { stores } from '../../app/stores'
import { Button, IconButton } from '../../ui/Button'
import { Dialog } from '../../ui/Dialog'
import { SelectField } from '../../ui/Fields'
import { PageHeader } from '../../ui/PageHeader'
import { Badge, EmptyState, ErrorState, Notice, Skeleton } from '../../ui/States'
import { count, time } from '../../ui/format'
import { type EventKind, type EventPage, type ServerEvent, day, look, searchEvents, text, title } from './events'
import '../policies/access.css'
import './Events.css'

const KINDS = [
  { value: '', label: 'Everything' },
  { value: 'imageset', label: 'Image sets' },
  { value: 'job', label: 'Import jobs' },
  { value: 'datastore', label: 'Data stores' }
]

export default function Events() {
  const [store, setStore] = useState('')
  const [kind, setKind] = useState('')
  const [pages, setPages] = useState<EventPage[] | null>(null)
  const [error, setError] = useState<unknown>()
  const [isLoading, setLoading] = useState(true)
  const [round, setRound] = useState(0)
  const [shown, setShown] = useState<ServerEvent | null>(null)
  const current = useRef<AbortController>()
  const filter = { datastoreId: store || undefined, kinds: kind === '' ? undefined : [kind as EventKind] }
  const load = async (before: EventPage[], token: string | null) => {
    current.current?.abort()
    const controller = (current.current = new AbortController())
    setLoading(true)
    setError(undefined)
    try {
      const page = await searchEvents(filter, token, controller.signal)
      setPages([...before, page])
    } catch (failure) {
      if (isAbort(failure)) return
      setError(failure)
    }
    setLoading(false)
  }
  useEffect(() => {
    void load([], null)
    return () => current.current?.abort()
  }, [store, kind, round])
  const events = (pages ?? []).flatMap((page) => page.events)
  const last = pages?.at(-1)
  const days = last === undefined ? 7 : Math.round(last.keptSeconds / 86_400)
  return (
    <>
      <PageHeader
        title="Events"
        lead={last?.keptSeconds === 0 ? 'What has happened to data stores, imports and image sets.' : `What has happened to data stores, imports and image sets in the last ${count(days, 'day')}.`}
        actions={<Button icon={<RefreshCw />} isBusy={isLoading && pages !== null} onClick={() => setRound(round + 1)}>Refresh</Button>}
      />
      <div class="filters">
        <SelectField label="Data store" value={store} onValue={(value) => { setPages(null); setStore(value) }} options={[{ value: '', label: 'All' }, ...(stores.value ?? []).map((each) => ({ value: each.datastoreId, label: `${each.datastoreName ?? each.datastoreId}${each.datastoreStatus === 'ACTIVE' ? '' : ' (deleted)'}` }))]} />
        <SelectField label="About" value={kind} onValue={(value) => { setPages(null); setKind(value) }} options={KINDS} />
      </div>
      {pages === null && error !== undefined ? (
        <ErrorState error={error} retry={() => setRound(round + 1)} />
      ) : pages === null ? (
        <Skeleton lines={8} />
      ) : events.length === 0 ? (
        <EmptyState icon={<ScrollText />} title="Nothing has happened">Events appear here when images are imported, edited, copied or deleted.</EmptyState>
      ) : (
        <>
          <ol class="events" aria-label="Events, newest first">
            {events.map((event, index) => {
              const before = events[index - 1]
              return (
                <li key={`${event.id}-${index}`}>
                  {(before === undefined || day(before.time) !== day(event.time)) && <h2>{day(event.time)}</h2>}
                  <Row of={event} show={() => setShown(event)} />
                </li>
              )
            })}
          </ol>
          {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
          {last?.nextToken && <div class="more"><Button isBusy={isLoading} onClick={() => void load(pages, last.nextToken)}>Show earlier events</Button></div>}
        </>
      )}
      {shown !== null && (
        <Dialog title={shown.type} width="wide" onClose={() => setShown(null)} actions={<Button onClick={() => setShown(null)}>Close</Button>}>
          <div class="stack">
            <p class="soft">{time(shown.time)}, as it went to the event log</p>
            <pre class="policy" role="region" aria-label="Detail of the event" tabIndex={0}>{JSON.stringify(shown.detail, null, 2)}</pre>
          </div>
        </Dialog>
      )}
    </>
  )
}

const ICONS = { imageset: Images, job: ListChecks, datastore: Database }

function Row({ of: event, show }: { of: ServerEvent; show: () => void }) {
  const Icon = ICONS[event.kind]
  const store = text(event, 'datastoreId') ?? ''
  const name = text(event, 'datastoreName') ?? stores.value?.find((each) => each.datastoreId === store)?.datastoreName ?? `${store.slice(0, 8)}…`
  return (
    <div class="event">
      <time dateTime={event.time} title={time(event.time)}>{new Date(event.time).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })}</time>
      <Icon aria-hidden="true" />
      <Badge look={look(event.type)}>{title(event.type)}</Badge>
      <span class="what"><What of={event} store={store} />{event.kind !== 'datastore' && <span class="faint"> in {name}</span>}</span>
      <IconButton label={`Show the event ${title(event.type)}`} onClick={show}><Braces /></IconButton>
    </div>
  )
}

function What({ of: event, store }: { of: ServerEvent; store: string }) {
  const imageSet = text(event, 'imagesetId')
  const job = text(event, 'jobId')
  if (imageSet !== null) {
    const version = text(event, 'imageSetVersion')
    return <a href={`/console/stores/${store}/sets/${imageSet}`}><code>{imageSet.slice(0, 12)}…</code>{version !== null && ` version ${version}`}</a>
  }
  if (job !== null) return <a href={`/console/stores/${store}/jobs/${job}`}>{text(event, 'jobName') ?? <code>{job.slice(0, 12)}…</code>}</a>
  return <a href={`/console/stores/${store}`}>{text(event, 'datastoreName') ?? store}</a>
}
