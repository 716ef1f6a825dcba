import { useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { Database, Ellipsis, Images, Info, Plus, Trash2 } from 'lucide-preact'
import { type Usage, usage } from '../../api/consoleApi'
import type { DatastoreSummary } from '../../api/native'
import { loadStores, stores, storesError } from '../../app/stores'
import { datastoreArn, useAllowed } from '../../session/allowed'
import { Button } from '../../ui/Button'
import { Menu, type MenuItem } from '../../ui/Menu'
import { PageHeader } from '../../ui/PageHeader'
import { Badge, EmptyState, ErrorState, Skeleton } from '../../ui/States'
import { bytes, count, time } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import '../../ui/Table.css'
import { NewStore } from './NewStore'
import './Stores.css'
import { askToDelete } from './deleting'

export default function Stores() {
  const [isNew, setNew] = useState(false)
  const [hasDeleted, setDeleted] = useState(false)
  const mayCreate = useAllowed('medical-imaging:CreateDatastore', '*') === true
  const all = stores.value
  const shown = (all ?? []).filter((each) => hasDeleted || each.datastoreStatus !== 'DELETED')
  const gone = (all ?? []).length - (all ?? []).filter((each) => each.datastoreStatus !== 'DELETED').length
  return (
    <>
      <PageHeader title="Data stores" actions={mayCreate && <Button look="primary" icon={<Plus />} onClick={() => setNew(true)}>Create data store</Button>} />
      {all === undefined ? (
        storesError.value === undefined ? <Skeleton lines={5} /> : <ErrorState error={storesError.value} retry={() => void loadStores()} />
      ) : shown.length === 0 ? (
        <EmptyState icon={<Database />} title="There is no data store yet" action={mayCreate && <Button look="primary" icon={<Plus />} onClick={() => setNew(true)}>Create data store</Button>}>
          A data store keeps studies apart from those of others: one for each purpose, such as a hospital, a trial or a test.
        </EmptyState>
      ) : (
        <table class="table store-table">
          <thead>
            <tr><th>Name</th><th class="right">Studies</th><th class="right">Image sets</th><th class="right">Instances</th><th class="right">Size</th><th>Created</th><th><span class="visually-hidden">Actions</span></th></tr>
          </thead>
          <tbody>{shown.map((store) => <StoreRow key={store.datastoreId} store={store} />)}</tbody>
        </table>
      )}
      {gone > 0 && <p class="store-deleted"><Button look="quiet" aria-expanded={hasDeleted} onClick={() => setDeleted(!hasDeleted)}>{hasDeleted ? 'Hide what was deleted' : `Show ${count(gone, 'deleted data store')}`}</Button></p>}
      {isNew && <NewStore onClose={() => setNew(false)} />}
    </>
  )
}

function StoreRow({ store }: { store: DatastoreSummary }) {
  const { route } = useLocation()
  const id = store.datastoreId
  const isActive = store.datastoreStatus === 'ACTIVE'
  const maySee = useAllowed('medical-imaging:GetDatastore', datastoreArn(id)) === true
  const isCounted = isActive && maySee
  const held = useResource<Usage | undefined>((signal) => (isCounted ? usage(id, signal) : Promise.resolve(undefined)), [id, isCounted])
  const mayDelete = useAllowed('medical-imaging:DeleteDatastore', datastoreArn(id)) === true
  const figure = (pick: (of: Usage) => string) => (held.data === undefined ? <span class="faint">{held.isLoading ? '…' : '–'}</span> : `${held.data.isEstimated ? '≈ ' : ''}${pick(held.data)}`)
  const items: (MenuItem | null)[] = [
    { label: 'Studies', icon: <Images />, href: `/console/stores/${id}` },
    { label: 'Details', icon: <Info />, href: `/console/stores/${id}/details` }
  ]
  if (mayDelete) items.push(null, { label: 'Delete…', icon: <Trash2 />, look: 'danger', onSelect: () => void askToDelete(store, route) })
  return (
    <tr class={isActive ? 'link' : ''} data-testid="data-store" onClick={(event) => { if (isActive && !(event.target as HTMLElement).closest('a, button, .menu')) route(`/console/stores/${id}`) }}>
      <td data-label="Name">
        <span class="store-name">{isActive ? <a href={`/console/stores/${id}`}>{store.datastoreName ?? id}</a> : <span class="soft">{store.datastoreName ?? id}</span>}{!isActive && <Badge>{store.datastoreStatus.toLowerCase()}</Badge>}</span>
      </td>
      <td data-label="Studies" class="right">{figure((of) => count(of.studies))}</td>
      <td data-label="Image sets" class="right">{figure((of) => count(of.imageSets))}</td>
      <td data-label="Instances" class="right">{figure((of) => count(of.instances))}</td>
      <td data-label="Size" class="right">{figure((of) => bytes(of.packBytes))}</td>
      <td data-label="Created" class="soft">{time(store.createdAt)}</td>
      <td class="bare">{isActive && <Menu label={`Actions for ${store.datastoreName ?? id}`} icon={<Ellipsis />} items={items} />}</td>
    </tr>
  )
}
