import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { ChevronRight, Plus } from 'lucide-preact'
import { isAbort } from '../../api/errors'
import { Button } from '../../ui/Button'
import { SearchField } from '../../ui/Fields'
import { ErrorState, Notice, Skeleton, Spinner } from '../../ui/States'
import { bytes, count } from '../../ui/format'
import { type Dictionary, loadDictionary, shownTag } from '../../dicom/dictionary'
import { isSequence, textOf } from '../../dicom/values'
import { datastoreArn, useAllowed } from '../../session/allowed'
import type { Overview } from './api'
import { CopyDialog } from './CopyDialog'
import { ranges } from './diff'
import { Detail } from './Detail'
import { type Edit, editId, rebased, withEdit } from './edits'
import { EditDialog } from './EditDialog'
import { type Found, type Hit, type InstanceDocument, type Outline, type Place, type Row, idOf, idsAbove, rowsOf, shownKey, shownPath, valueAt } from './metadata'
import { PreviewDialog } from './PreviewDialog'
import { MetadataReader } from './reader'
import { VirtualTree } from './VirtualTree'
import type { Go } from './ImageSet'

interface Props {
  store: string
  data: Overview
  mayEdit: boolean
  edits: Edit[]
  setEdits: (edits: Edit[]) => void
  onChanged: (versionId: string) => void
  reload: () => void
  go: Go
}

interface Opened {
  reader: MetadataReader
  outline: Outline
  dictionary: Dictionary
}

type HitRow = { kind: 'hit'; id: string; depth: number; hit: Hit } | { kind: 'place'; id: string; depth: number; label: string }
type AnyRow = Row | HitRow

/** The metadata of a version as a tree, with a search in it, and the changes that a person makes. */
export function MetadataTab({ store, data, mayEdit, edits, setEdits, onChanged, reload, go }: Props) {
  const isLatest = data.versionId === data.latestVersionId
  const [opened, setOpened] = useState<Opened | null>(null)
  const [error, setError] = useState<unknown>()
  const [round, setRound] = useState(0)
  const [instances, setInstances] = useState<ReadonlyMap<string, InstanceDocument>>(new Map())
  const [toggled, setToggled] = useState<ReadonlySet<string>>(new Set())
  const [active, setActive] = useState<string | null>(null)
  const [text, setText] = useState('')
  const [found, setFound] = useState<Found | null>(null)
  const [isSearching, setSearching] = useState(false)
  const [editing, setEditing] = useState<{ place: Place; key: string } | 'new' | null>(null)
  const [isPreviewed, setPreviewed] = useState(false)
  const [isCopying, setCopying] = useState(false)
  const mayCopy = useAllowed('medical-imaging:CopyImageSet', datastoreArn(store, data.imageSetId)) === true

  useEffect(() => {
    const controller = new AbortController()
    setOpened(null)
    setError(undefined)
    Promise.all([MetadataReader.open(store, data.imageSetId, data.versionId, controller.signal), loadDictionary()])
      .then(async ([{ reader, outline }, dictionary]) => {
        // Of an older version there is nothing to change, so changes do not become those of its values.
        if (isLatest && edits.length > 0) await rebase({ reader, outline, dictionary })
        if (controller.signal.aborted) return
        setOpened({ reader, outline, dictionary })
        // The only instance is what a person wants to see.
        const only = outline.instances.length === 1 ? outline.instances[0] : undefined
        if (only !== undefined) setToggled(new Set([`i:${only.uid}`]))
      })
      .catch((failure: unknown) => !isAbort(failure) && setError(failure))
    return () => controller.abort()
  }, [store, data.imageSetId, data.versionId, round])

  // Edits that were made on another version go on with the values of this one.
  const rebase = async (now: Opened) => {
    const documents = new Map<string, InstanceDocument>()
    for (const uid of new Set(edits.map((edit) => edit.instance))) {
      const document = uid === null ? undefined : await now.reader.instance(uid)
      if (uid !== null && document !== undefined) documents.set(uid, document)
    }
    const block = (edit: Edit) => ({ Patient: now.outline.patient, Study: now.outline.study, Series: now.outline.series, Instance: documents.get(edit.instance ?? '')?.DICOM ?? {} })[edit.level]
    setEdits(rebased(edits, (edit) => block(edit)[edit.key], (uid) => documents.has(uid)))
  }

  const wanted = useRef(0)
  useEffect(() => {
    const mine = ++wanted.current
    if (opened === null || text.trim() === '') {
      setFound(null)
      setSearching(false)
      return
    }
    setSearching(true)
    const timer = setTimeout(() => {
      opened.reader
        .search(text)
        .then((answer) => {
          if (mine !== wanted.current) return
          setFound(answer)
          setSearching(false)
        })
        .catch((failure: unknown) => setError(failure))
    }, 120)
    return () => clearTimeout(timer)
  }, [opened, text])

  // Instances are fetched from the worker when they are opened.
  useEffect(() => {
    if (opened === null) return
    for (const id of toggled) {
      if (!id.startsWith('i:') || instances.has(id.slice(2))) continue
      const uid = id.slice(2)
      opened.reader
        .instance(uid)
        .then((document) => document !== undefined && setInstances((old) => new Map(old).set(uid, document)))
        .catch((failure: unknown) => setError(failure))
    }
  }, [opened, toggled])

  const rows = useMemo<AnyRow[]>(() => {
    if (opened === null) return []
    return found === null ? rowsOf({ outline: opened.outline, opened: instances, toggled }, opened.dictionary) : hitRows(found)
  }, [opened, instances, toggled, found])

  if (error !== undefined) return <ErrorState error={error} retry={() => setRound(round + 1)} />
  if (opened === null) return <Skeleton lines={10} />
  const { outline, dictionary } = opened
  const toggle = (row: AnyRow) => {
    if (row.kind === 'hit' || row.kind === 'place') return
    setToggled((old) => {
      const next = new Set(old)
      if (!next.delete(row.id)) next.add(row.id)
      return next
    })
  }
  const reveal = async (place: Place) => {
    if (place.instance !== null && !instances.has(place.instance)) {
      const document = await opened.reader.instance(place.instance)
      if (document !== undefined) setInstances((old) => new Map(old).set(place.instance!, document))
    }
    const block = await blockOf(opened, place)
    setToggled((old) => {
      const next = new Set(old)
      next.delete(place.level === 'Instance' ? 'Instance' : place.level)
      for (const id of idsAbove(place, (path) => lengthOf(valueAt(block, path)))) next.add(id)
      return next
    })
    setText('')
    setFound(null)
    setActive(idOf(place))
  }
  const changes = new Map((isLatest ? edits : []).map((edit) => [editId(edit), edit]))
  const changeOf = (row: AnyRow): Edit | undefined => {
    if (row.kind === 'element' && row.at.path.length === 1) return changes.get(`${row.at.level}:${row.at.instance ?? ''}:${row.key}`)
    if (row.kind === 'instance') return changes.get(`Instance:${row.instance.uid}:`)
    return undefined
  }
  const current = rows.find((row) => row.id === active)
  return (
    <>
      <div class="meta-bar">
        <SearchField isMain label="Search by keyword, tag or value" value={text} onValue={setText} data-testid="metadata-search" />
        <span class="meta-note" role="status">
          {isSearching ? <span class="row"><Spinner /> Searching</span> : found === null ? `${count(outline.instances.length, 'instance')}, version ${data.versionId}` : foundText(found)}
        </span>
        <span class="grow" />
        {mayEdit && <Button icon={<Plus />} onClick={() => setEditing('new')}>Add attribute</Button>}
      </div>
      {found !== null && found.count === 0 && !isSearching ? (
        <Notice>Nothing matches. Search for part of a keyword, a tag such as 0010,0020, or part of a value.</Notice>
      ) : (
        <div class="meta-split">
          <VirtualTree<AnyRow>
            rows={rows}
            label="Metadata"
            active={active}
            onActive={(row) => setActive(row.id)}
            onToggle={toggle}
            isOpenOf={(row) => (row.kind === 'hit' || row.kind === 'place' || row.kind === 'frame' ? null : row.isOpen)}
            classOf={(row) => `${['level', 'place'].includes(row.kind) ? 'level' : ['instance', 'item', 'frames', 'frame'].includes(row.kind) ? 'wide' : ''} ${changed(changeOf(row))}`}
            onEscape={() => setActive(null)}
            render={(row) => <RowView row={row} edit={changeOf(row)} all={outline.instances.length} />}
            onEnter={(row) => {
              if (row.kind === 'hit') void reveal({ level: row.hit.level, instance: row.hit.instance, path: row.hit.path })
              else toggle(row)
            }}
          />
          {current !== undefined && (
            <Detail
              row={current.kind === 'hit' || current.kind === 'place' ? null : current}
              hit={current.kind === 'hit' ? current.hit : null}
              store={store}
              data={data}
              dictionary={dictionary}
              mayEdit={mayEdit}
              edit={changeOf(current)}
              onCopy={mayCopy ? () => setCopying(true) : undefined}
              onReveal={(place) => void reveal(place)}
              onClose={() => setActive(null)}
              onChange={(place, key) => setEditing({ place, key })}
              onEdit={(edit) => setEdits(withEdit(edits, edit))}
              onUndo={(edit) => setEdits(edits.filter((each) => editId(each) !== editId(edit)))}
            />
          )}
        </div>
      )}
      {isLatest && edits.length > 0 && (
        <div class="draft-bar" role="region" aria-label="Changes that are not applied yet">
          <span>{count(edits.length, 'change')} not applied yet</span>
          <div class="row-wrap">
            <Button onClick={() => setEdits([])}>Discard</Button>
            <Button look="primary" onClick={() => setPreviewed(true)}>Preview</Button>
          </div>
        </div>
      )}
      {editing !== null && (
        <EditDialog
          data={data}
          outline={outline}
          dictionary={dictionary}
          instances={instances}
          target={editing === 'new' ? null : editing}
          pending={editing === 'new' ? undefined : changes.get(`${editing.place.level}:${editing.place.instance ?? ''}:${editing.key}`)}
          near={current !== undefined && current.kind === 'element' ? current.at : current?.kind === 'instance' ? { level: 'Instance', instance: current.instance.uid, path: [] } : null}
          onClose={() => setEditing(null)}
          onEdit={(edit) => {
            setEdits(withEdit(edits, edit))
            setEditing(null)
          }}
        />
      )}
      {isCopying && <CopyDialog store={store} data={data} onClose={() => setCopying(false)} onStale={reload} />}
      {isPreviewed && (
        <PreviewDialog
          store={store}
          data={data}
          seriesUid={outline.seriesUid}
          edits={edits}
          onClose={() => setPreviewed(false)}
          onTakeBack={(edit) => setEdits(edits.filter((each) => editId(each) !== editId(edit)))}
          onChanged={onChanged}
          onConflict={() => {
            setPreviewed(false)
            reload()
          }}
          go={go}
        />
      )}
    </>
  )
}

async function blockOf(opened: Opened, place: Place): Promise<Record<string, unknown>> {
  if (place.level === 'Patient') return opened.outline.patient
  if (place.level === 'Study') return opened.outline.study
  if (place.level === 'Series') return opened.outline.series
  return (await opened.reader.instance(place.instance ?? ''))?.DICOM ?? {}
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) ? value.length : 0
}

function hitRows(found: Found): HitRow[] {
  const rows: HitRow[] = []
  let last = ''
  found.hits.forEach((hit, index) => {
    const label = hit.level === 'Instance' ? 'Instances' : hit.level
    if (label !== last) rows.push({ kind: 'place', id: `place:${index}`, depth: 0, label })
    last = label
    rows.push({ kind: 'hit', id: `hit:${index}`, depth: 1, hit })
  })
  return rows
}

function foundText(found: Found): string {
  const more = found.isCut ? `, of which ${count(found.hits.length)} different ones are shown` : ''
  return `${count(found.count, 'match', 'matches')}${found.instances > 1 ? `, in ${count(found.instances, 'instance')}` : ''}${more}`
}

/** In which instances a hit is. */
export function hitWhere(hit: Hit, all: number): string {
  if (hit.level !== 'Instance') return ''
  if (hit.instances === all) return all === 1 ? '' : `all ${count(all)} instances`
  const numbers = ranges(hit.numbers, 3)
  return numbers === '' ? count(hit.instances, 'instance') : `${hit.instances === 1 ? 'instance' : 'instances'} ${numbers}`
}

function changed(edit: Edit | undefined): string {
  return edit === undefined ? '' : edit.action === 'set' ? 'changed' : 'gone'
}

function RowView({ row, edit, all }: { row: AnyRow; edit: Edit | undefined; all: number }) {
  const twist = (isOpen: boolean | null) => (isOpen === null ? <span class="twist" /> : <ChevronRight class="twist" aria-hidden="true" />)
  if (row.kind === 'level') return <><span class="name">{twist(row.isOpen)}<span>{row.label}</span></span><span class="faint number small">{row.level === 'Instance' ? count(row.count) : count(row.count, 'attribute')}</span></>
  if (row.kind === 'place') return <span class="name"><span>{row.label}</span></span>
  if (row.kind === 'instance') {
    const { number, uid, frames, elements } = row.instance
    return <><span class="name">{row.isLoading ? <Spinner /> : twist(row.isOpen)}<span>{number === '' ? 'Instance' : `Instance ${number}`}<span class="faint"> · {uid}</span></span></span><span class="faint number small">{frames > 1 ? count(frames, 'frame') : count(elements, 'attribute')}</span></>
  }
  if (row.kind === 'item') return <><span class="name">{twist(row.isOpen)}<span>Item {row.index + 1}</span></span><span class="faint number small">{count(row.count, 'attribute')}</span></>
  if (row.kind === 'frames') return <><span class="name">{twist(row.isOpen)}<span>Image frames</span></span><span class="faint number small">{count(row.count, 'frame')}</span></>
  if (row.kind === 'frame') {
    const size = row.frame.PixelDataChecksumFromBaseToFullResolution?.at(-1)
    const range = row.frame.MinPixelValue === null ? '' : ` · ${row.frame.MinPixelValue} to ${row.frame.MaxPixelValue}`
    return <><span class="name">{twist(null)}<span>Frame {row.index + 1}<span class="faint">{size === undefined ? '' : ` · ${size.Width} × ${size.Height}`}{range}</span></span></span><span class="faint number small">{bytes(row.frame.FrameSizeInBytes)}</span></>
  }
  if (row.kind === 'hit') {
    const { path, tag, vr, value } = row.hit
    const hit = hitWhere(row.hit, all)
    const above = path.slice(0, -1)
    return <><span class="name">{twist(null)}<span>{shownKey(String(path.at(-1)))}{above.length > 0 && <span class="path"> in {shownPath(above)}</span>}</span></span><span class="tag">{shownTag(tag)}</span><span class="vr">{vr}</span><span class="value">{value}{hit !== '' && <span class="path"> · {hit}</span>}</span></>
  }
  const shown = edit?.action === 'set' ? textOf(edit.value) : textOf(row.value)
  return <><span class="name">{twist(row.isOpen)}<span>{shownKey(row.key)}</span></span><span class="tag">{shownTag(row.tag)}</span><span class="vr">{row.vr}</span><span class={`value ${isSequence(row.value) ? 'faint' : ''}`}>{shown.slice(0, 400)}</span></>
}
