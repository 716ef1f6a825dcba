import { useEffect } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { SearchX } from 'lucide-preact'
import { ApiError, explain } from '../../api/errors'
import { Badge, EmptyState, Loaded, Notice } from '../../ui/States'
import { Button, ButtonLink } from '../../ui/Button'
import { PageHeader } from '../../ui/PageHeader'
import { Tabs } from '../../ui/Tabs'
import { ago, count, personName } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import { useAllowed, datastoreArn } from '../../session/allowed'
import { textOf } from '../../dicom/values'
import { preloadViewer } from '../../viewer/preload'
import { Actions } from './Actions'
import { type Overview, overview } from './api'
import { draftOf, dropDraft, setDraft } from './drafts'
import type { Edit } from './edits'
import { EventsTab } from './EventsTab'
import { MetadataTab } from './MetadataTab'
import { OverviewTab } from './OverviewTab'
import { VersionsTab } from './VersionsTab'
import './ImageSet.css'

const TABS = ['overview', 'metadata', 'versions', 'events']

/** One image set: what it is, its metadata, its versions, and what can be done with it. */
export default function ImageSet({ store = '', imageSet = '' }: { store?: string; imageSet?: string }) {
  const { query, route, path } = useLocation()
  const version = query['version'] ?? null
  const found = useResource((signal) => overview(store, imageSet, version, signal), [store, imageSet, version])
  const isMissing = found.data === undefined && found.error instanceof ApiError && found.error.status === 404
  useEffect(() => {
    if (isMissing && version === null) dropDraft(store, imageSet)
  }, [isMissing])
  const tab = TABS.includes(query['tab'] ?? '') ? query['tab']! : 'overview'
  const go = (values: Record<string, string | null>) => {
    const next = new URLSearchParams()
    for (const [name, value] of Object.entries({ tab, version, ...values })) if (value !== null && value !== 'overview') next.set(name, value)
    route(next.size === 0 ? path : `${path}?${next}`)
  }
  if (isMissing) return <Missing store={store} error={found.error} showLatest={version === null ? undefined : () => go({ version: null })} />
  return (
    <Loaded resource={found} lines={8}>
      {(data) => <Page key={`${imageSet}`} store={store} data={data} tab={tab} go={go} query={query} reload={found.reload} />}
    </Loaded>
  )
}

function Missing({ store, error, showLatest }: { store: string; error: unknown; showLatest?: () => void }) {
  return (
    <EmptyState
      isPage
      icon={<SearchX />}
      title={showLatest === undefined ? 'This image set cannot be shown' : 'This version cannot be shown'}
      action={
        <>
          {showLatest !== undefined && <Button look="primary" onClick={showLatest}>Show the latest version</Button>}
          <ButtonLink href={`/console/stores/${store}`}>All studies</ButtonLink>
        </>
      }
    >
      {explain(error)}
    </EmptyState>
  )
}

export type Go = (values: Record<string, string | null>) => void

interface PageProps {
  store: string
  data: Overview
  tab: string
  query: Record<string, string>
  go: Go
  reload: () => void
}

function Page({ store, data, tab, query, go, reload }: PageProps) {
  const edits = draftOf(store, data.imageSetId)
  const setEdits = (next: Edit[]) => setDraft(store, data.imageSetId, next)
  const arn = datastoreArn(store, data.imageSetId)
  useEffect(() => {
    preloadViewer()
  }, [])
  const mayEdit = useAllowed('medical-imaging:UpdateImageSetMetadata', arn) === true
  const mayList = useAllowed('medical-imaging:ListImageSetVersions', arn) === true
  const isLatest = data.versionId === data.latestVersionId
  const changed = (versionId: string) => {
    setEdits([])
    reload()
    go({ tab: 'versions', version: null, from: String(Math.max(1, Number(versionId) - 1)), to: versionId })
  }
  const name = personName(textOf(data.patient['PatientName']))
  return (
    <>
      <PageHeader
        title={<span class="row-wrap set-title">{name || <span class="faint">No patient name</span>}{data.isPrimary ? <Badge look="accent" title="This is the image set that DICOMweb shows for the series.">Primary</Badge> : <Badge title="Kept beside the primary image set: DICOMweb shows it only by its id.">Not primary</Badge>}</span>}
        lead={<Lead data={data} />}
        actions={<Actions store={store} data={data} onChanged={reload} />}
      />
      {!isLatest && (
        <div class="set-notice">
          <Notice look="warn">
            <div class="row-wrap spread">
              <span>This is version {data.versionId}, an older one. The latest is version {data.latestVersionId}, of {ago(data.updatedAt)}.</span>
              <Button onClick={() => go({ version: null })}>Show the latest</Button>
            </div>
          </Notice>
        </div>
      )}
      {edits.length > 0 && (tab !== 'metadata' || !isLatest) && (
        <div class="set-notice">
          <Notice look="warn">
            <div class="row-wrap spread">
              <span>You have {count(edits.length, 'change')} here that {edits.length === 1 ? 'is' : 'are'} not applied yet.</span>
              <Button onClick={() => go({ tab: 'metadata', version: null, from: null, to: null })}>Show {edits.length === 1 ? 'it' : 'them'}</Button>
            </div>
          </Notice>
        </div>
      )}
      <Tabs
        label="Image set"
        selected={tab}
        onSelect={(id) => go({ tab: id, from: null, to: null })}
        tabs={[
          { id: 'overview', label: 'Overview' },
          { id: 'metadata', label: 'Metadata' },
          ...(mayList ? [{ id: 'versions', label: 'Versions', count: Number(data.latestVersionId) }] : []),
          { id: 'events', label: 'Events' }
        ]}
      >
        {tab === 'overview' && <OverviewTab store={store} data={data} go={go} />}
        {tab === 'metadata' && <MetadataTab key={data.versionId} store={store} data={data} mayEdit={mayEdit && isLatest} edits={edits} setEdits={setEdits} onChanged={changed} reload={reload} go={go} />}
        {tab === 'versions' && <VersionsTab store={store} data={data} mayEdit={mayEdit} from={query['from'] ?? null} to={query['to'] ?? null} go={go} onChanged={changed} />}
        {tab === 'events' && <EventsTab store={store} imageSetId={data.imageSetId} />}
      </Tabs>
    </>
  )
}

function Lead({ data }: { data: Overview }) {
  const parts = [textOf(data.patient['PatientID']), textOf(data.series['Modality']), textOf(data.series['SeriesDescription']) || textOf(data.study['StudyDescription'])]
  return <>{parts.filter(Boolean).join(' · ')}</>
}
