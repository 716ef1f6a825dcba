import { useEffect, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { Images, Trash2 } from 'lucide-preact'
import { type Usage, usage } from '../../api/consoleApi'
import { explain } from '../../api/errors'
import { type DatastoreProperties, getDatastore, listTagsForResource, tagResource, untagResource } from '../../api/native'
import { datastoreArn, useAllowed } from '../../session/allowed'
import { Button, ButtonLink } from '../../ui/Button'
import { Copyable } from '../../ui/Copyable'
import { Fact, Facts } from '../../ui/Facts'
import { PageHeader } from '../../ui/PageHeader'
import { Badge, Loaded, Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { bytes, count, time } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import './Stores.css'
import { TagsEditor } from './TagsEditor'
import { askToDelete } from './deleting'
import { type TagRow, changes, fault, rowsOf } from './tags'

const FORMATS: Record<string, string> = { HTJ2K: 'HTJ2K', JPEG_2000_LOSSLESS: 'JPEG 2000 lossless' }

export default function StoreDetails({ store }: { store: string }) {
  const properties = useResource((signal) => getDatastore(store, signal), [store])
  return <Loaded resource={properties} lines={8}>{(found) => <Details store={found} />}</Loaded>
}

function Details({ store }: { store: DatastoreProperties }) {
  const { route } = useLocation()
  const id = store.datastoreId
  const arn = store.datastoreArn ?? datastoreArn(id)
  const isActive = store.datastoreStatus === 'ACTIVE'
  const held = useResource((signal) => usage(id, signal), [id])
  const mayDelete = useAllowed('medical-imaging:DeleteDatastore', datastoreArn(id)) === true
  const remove = async () => {
    if (await askToDelete(store, route)) route('/console/stores')
  }
  return (
    <>
      <PageHeader
        title={store.datastoreName ?? id}
        actions={
          isActive && (
            <>
              {mayDelete && <Button class="bad-text" icon={<Trash2 />} onClick={() => void remove()}>Delete</Button>}
              <ButtonLink href={`/console/stores/${id}`} look="primary" icon={<Images />}>Studies</ButtonLink>
            </>
          )
        }
      />
      <Figures held={held.data} />
      {held.error !== undefined && <Notice look="bad">{explain(held.error)}</Notice>}
      <section class="store-section">
        <h2>For programs</h2>
        <Facts>
          <Fact name="Data store ID"><Copyable text={id} label="Copy the data store ID" /></Fact>
          <Fact name="ARN"><Copyable text={arn} label="Copy the ARN" /></Fact>
          <Fact name="DICOMweb"><Copyable text={`${location.origin}/datastore/${id}`} label="Copy the address for DICOMweb clients" /></Fact>
          <Fact name="AWS clients"><Copyable text={`AWS_ENDPOINT_URL_MEDICAL_IMAGING=${location.origin}`} label="Copy the setting for AWS clients" /></Fact>
        </Facts>
      </section>
      <section class="store-section">
        <h2>Properties</h2>
        <Facts>
          <Fact name="Status"><Badge look={isActive ? 'good' : 'plain'}>{store.datastoreStatus.toLowerCase()}</Badge></Fact>
          <Fact name="Created">{time(store.createdAt)}</Fact>
          <Fact name="Lossless pixels">{FORMATS[store.losslessStorageFormat ?? 'HTJ2K'] ?? store.losslessStorageFormat}</Fact>
          <Fact name="Bearer tokens">{store.lambdaAuthorizerArn ? <Copyable text={store.lambdaAuthorizerArn} label="Copy the ARN of the authorizer" /> : <span class="soft">none are accepted; requests are signed</span>}</Fact>
          {store.kmsKeyArn && <Fact name="KMS key"><Copyable text={store.kmsKeyArn} /></Fact>}
        </Facts>
      </section>
      {isActive && <Tags arn={arn} />}
    </>
  )
}

function Figures({ held }: { held: Usage | undefined }) {
  const about = held?.isEstimated ? '≈ ' : ''
  const figures: [string, string | undefined][] = [
    ['Studies', held && count(held.studies)],
    ['Image sets', held && count(held.imageSets)],
    ['Instances', held && count(held.instances)],
    ['Frames', held && count(held.frames)],
    ['Stored', held && bytes(held.packBytes)]
  ]
  return (
    <dl class="figures" title={held?.isEstimated ? 'Estimated: there is too much to count at once.' : undefined}>
      {figures.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd class="number">{value === undefined ? <span class="faint">…</span> : about + value}</dd>
        </div>
      ))}
    </dl>
  )
}

/** The tags, for whom may see them; nobody else's page asks for them. */
function Tags({ arn }: { arn: string }) {
  return useAllowed('medical-imaging:ListTagsForResource', arn) ? <SeenTags arn={arn} /> : null
}

function SeenTags({ arn }: { arn: string }) {
  const tags = useResource((signal) => listTagsForResource(arn, signal), [arn])
  const mayTag = useAllowed('medical-imaging:TagResource', arn) === true
  const mayUntag = useAllowed('medical-imaging:UntagResource', arn) === true
  return (
    <section class="store-section">
      <h2>Tags</h2>
      <Loaded resource={tags} lines={2}>{(found) => <TagList key={JSON.stringify(found)} arn={arn} tags={found} mayEdit={mayTag && mayUntag} onChanged={tags.set} />}</Loaded>
    </section>
  )
}

function TagList({ arn, tags, mayEdit, onChanged }: { arn: string; tags: Record<string, string>; mayEdit: boolean; onChanged: (tags: Record<string, string>) => void }) {
  const [rows, setRows] = useState<TagRow[]>(() => rowsOf(tags))
  const [isEdited, setEdited] = useState(false)
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  useEffect(() => {
    if (!isEdited) setRows(rowsOf(tags))
  }, [isEdited])
  if (!isEdited) {
    return (
      <div class="stack-tight">
        {rows.length === 0 ? <p class="soft">None. Policies can tell data stores apart by their tags.</p> : <div class="row-wrap">{rows.map((row) => <span key={row.key} class="store-tag"><span class="soft">{row.key}</span> {row.value}</span>)}</div>}
        {mayEdit && <div><Button onClick={() => { setRows(rows.length === 0 ? [{ key: '', value: '' }] : rows); setEdited(true) }}>{rows.length === 0 ? 'Add tags' : 'Edit tags'}</Button></div>}
      </div>
    )
  }
  const { put, remove } = changes(tags, rows)
  const isReady = rows.every((row) => fault(row, rows) === null) && (Object.keys(put).length > 0 || remove.length > 0)
  const save = async () => {
    setBusy(true)
    setError(undefined)
    try {
      // First what is added: a policy may hang on a tag that is about to be replaced.
      if (Object.keys(put).length > 0) await tagResource(arn, put)
      if (remove.length > 0) await untagResource(arn, remove)
      toast('The tags are saved.', 'good')
      onChanged(await listTagsForResource(arn))
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <div class="stack-tight">
      <TagsEditor rows={rows} onRows={setRows} />
      {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      <div class="row-wrap">
        <Button look="primary" isBusy={isBusy} disabled={!isReady} onClick={() => void save()}>Save tags</Button>
        <Button disabled={isBusy} onClick={() => setEdited(false)}>Cancel</Button>
      </div>
    </div>
  )
}
