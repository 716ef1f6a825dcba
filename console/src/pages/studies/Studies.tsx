import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { ArrowDown, ArrowUp, Copy, Download, FolderInput, Images, RefreshCw, SearchX, ShieldCheck, Trash2, X } from 'lucide-preact'
import { explain } from '../../api/errors'
import type { Study, StudyImageSet, StudySort } from '../../api/studies'
import { currentStore } from '../../app/stores'
import { datastoreArn, useAllowed } from '../../session/allowed'
import { Button, ButtonLink, IconButton } from '../../ui/Button'
import { confirm } from '../../ui/Dialog'
import { Menu } from '../../ui/Menu'
import { PageHeader } from '../../ui/PageHeader'
import { EmptyState, ErrorState, Notice, Skeleton, Spinner } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { count } from '../../ui/format'
import { preloadViewer } from '../../viewer/preload'
import '../../ui/Table.css'
import './Studies.css'
import { BulkDialog, NamedStudies } from './BulkDialog'
import { StudyFilters } from './StudyFilters'
import { type Rights, StudyRow } from './StudyRow'
import { type BulkAction, type BulkItem, concerned, itemOf, itemsOf, named, saveArchives } from './bulk'
import { EVERYTHING, type ShownQuery, isNarrowed, queryOf, setQuery, sortedBy, suggestionFor } from './query'
import { MOST_SHOWN, useStudies } from './studyList'

const HEADS: { sort?: StudySort; label: string; class: string }[] = [
  { sort: 'patientName', label: 'Patient', class: 'c-patient' },
  { sort: 'date', label: 'Study date', class: 'c-date' },
  { sort: 'modality', label: 'Modality', class: 'c-modality' },
  { sort: 'description', label: 'Description', class: 'c-description' },
  { label: 'Images', class: 'c-images right' },
  { sort: 'updated', label: 'Changed', class: 'c-updated' }
]

export default function Studies({ store }: { store: string }) {
  const { route } = useLocation()
  const query = queryOf(store)
  const list = useStudies(store, query)
  // Makes the fields of the search anew when they are changed from elsewhere: they keep what is being typed.
  const [round, setRound] = useState(0)
  const [picked, setPicked] = useState<ReadonlyMap<string, Study>>(new Map())
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set())
  const [active, setActive] = useState(0)
  const [bulk, setBulk] = useState<{ action: BulkAction; items: BulkItem[] } | null>(null)
  const rows = useRef<HTMLTableSectionElement>(null)
  const rights = useRights(store)
  const mayPick = rights.export || rights.copy || rights.delete
  const mayImport = useAllowed('medical-imaging:StartDICOMImportJob', datastoreArn(store))

  useEffect(() => {
    setPicked(new Map())
    setOpen(new Set())
  }, [store])
  useEffect(() => setActive(0), [query])
  useEffect(() => {
    if (list.studies.length > 0) preloadViewer()
  }, [list.studies.length > 0])

  const pick = (study: Study, isPicked: boolean) =>
    setPicked((old) => {
      const next = new Map(old)
      if (isPicked) next.set(study.studyInstanceUid, study)
      else next.delete(study.studyInstanceUid)
      return next
    })
  const expand = (uid: string, isOpen: boolean) =>
    setOpen((old) => {
      const next = new Set(old)
      if (isOpen) next.add(uid)
      else next.delete(uid)
      return next
    })
  const view = (study: Study, set?: StudyImageSet) => {
    const shown = set?.imageSetId ?? study.thumbnailImageSetId ?? study.imageSets[0]?.imageSetId
    if (shown !== undefined) route(`/console/stores/${store}/view/${shown}`)
  }
  const focusRow = (index: number) => {
    const at = Math.max(0, Math.min(index, list.studies.length - 1))
    setActive(at)
    rows.current?.querySelector<HTMLElement>(`[data-row="${at}"]`)?.focus()
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement
    if (target.dataset['row'] === undefined) return
    const index = Number(target.dataset['row'])
    const study = list.studies[index]
    if (study === undefined) return
    const act: Record<string, () => unknown> = {
      ArrowDown: () => focusRow(index + 1),
      ArrowUp: () => focusRow(index - 1),
      Home: () => focusRow(0),
      End: () => focusRow(list.studies.length - 1),
      ArrowRight: () => expand(study.studyInstanceUid, true),
      ArrowLeft: () => expand(study.studyInstanceUid, false),
      Enter: () => view(study),
      ' ': () => mayPick && pick(study, !picked.has(study.studyInstanceUid))
    }
    const found = act[event.key]
    if (found === undefined) return
    event.preventDefault()
    found()
  }

  const start = async (action: BulkAction, studies: Study[], set?: StudyImageSet) => {
    try {
      const items = set === undefined ? await itemsOf(store, studies) : studies.map((study) => itemOf(study, set))
      setBulk({ action, items: concerned(action, items, set !== undefined) })
    } catch (error) {
      toast(explain(error), 'bad')
    }
  }
  const save = async (syntax: 'explicit' | 'stored', studies: Study[], set?: StudyImageSet) => {
    try {
      const items = set === undefined ? await itemsOf(store, studies) : studies.map((study) => itemOf(study, set))
      const groups = named(items)
      let files = 0
      const run = async () => void (files = await saveArchives(store, items, syntax))
      // Nobody hands on the images of a patient whom the list has not named.
      const isAsked = set === undefined && groups.some((group) => group.isOther)
      const question = { title: 'Export images of other patients, too?', action: 'Export', children: <div class="stack"><p>Image sets of these studies name other patients. Export an image set by itself to leave them out.</p><NamedStudies of={groups} /></div> }
      if (isAsked) {
        if (!(await confirm(question, run))) return
      } else await run()
      toast(files === 1 ? 'The browser saves dicom.zip.' : `The browser saves ${files} files, dicom-1.zip and so on.`)
    } catch (error) {
      toast(explain(error), 'bad')
    }
  }
  const ended = (changed: boolean) => {
    setBulk(null)
    if (!changed) return
    setPicked(new Map())
    list.reload()
  }

  // As the list shows them by now, where it does.
  const pickedStudies = useMemo(() => {
    const shown = new Map(list.studies.map((study) => [study.studyInstanceUid, study]))
    return [...picked.values()].map((study) => shown.get(study.studyInstanceUid) ?? study)
  }, [picked, list.studies])
  const hidden = pickedStudies.filter((study) => !list.studies.some((each) => each.studyInstanceUid === study.studyInstanceUid)).length
  const isAllPicked = list.studies.length > 0 && list.studies.every((study) => picked.has(study.studyInstanceUid))
  const change = (values: Parameters<typeof setQuery>[1]) => setQuery(store, values)
  // There is nothing to search in a data store that holds nothing; a search that is being cleared keeps its field.
  const wasNarrowed = useRef(false)
  wasNarrowed.current ||= isNarrowed(query)
  const isBare = !wasNarrowed.current && list.studies.length === 0 && !list.isLoading && !list.isPaused && list.error === undefined

  return (
    <div class={`studies ${picked.size > 0 ? 'has-picked' : ''}`}>
      <PageHeader
        title="Studies"
        actions={
          <>
            <IconButton label="Look again" onClick={list.reload}>{list.isLoading ? <Spinner /> : <RefreshCw />}</IconButton>
            {mayImport && <ButtonLink href={`/console/stores/${store}/import`} look="primary" icon={<FolderInput />}>Import</ButtonLink>}
          </>
        }
      />
      {!isBare && <StudyFilters key={`${store} ${query.label ?? ''} ${round}`} query={query} change={change} />}
      <p class="visually-hidden" role="status">{list.isLoading ? 'Searching' : list.total !== null ? count(list.total, 'study', 'studies') : `${list.studies.length} studies shown`}</p>
      {list.error !== undefined && list.studies.length > 0 && <Notice look="bad">{explain(list.error)} <Button look="quiet" onClick={list.reload}>Try again</Button></Notice>}
      {list.error !== undefined && list.studies.length === 0 ? (
        <ErrorState error={list.error} retry={list.reload} />
      ) : list.studies.length === 0 && list.isLoading ? (
        <Skeleton lines={8} />
      ) : list.studies.length === 0 && !list.isPaused ? (
        isNarrowed(query) ? (
          <NothingFound
            query={query}
            change={(values) => {
              change(values)
              setRound(round + 1)
            }}
          />
        ) : (
          <EmptyState icon={<Images />} title={`${currentStore.value?.datastoreName ?? 'This data store'} has no studies yet`} action={mayImport && <ButtonLink look="primary" icon={<FolderInput />} href={`/console/stores/${store}/import`}>Import DICOM files</ButtonLink>}>
            {mayImport ? 'Drop a folder of DICOM files here, or send them with any DICOMweb or AWS client.' : 'Whoever may import into it can fill it.'}
          </EmptyState>
        )
      ) : (
        <>
          <Notes list={list} />
          <table class={`table study-table ${list.isStale ? 'stale' : ''} ${mayPick ? '' : 'no-picks'}`}>
            <thead>
              <tr>
                <th class="c-pick"><label class="checkbox"><input type="checkbox" checked={isAllPicked} ref={(box) => { if (box) box.indeterminate = picked.size > 0 && !isAllPicked }} onChange={(event) => setPicked(event.currentTarget.checked ? new Map(list.studies.map((study) => [study.studyInstanceUid, study])) : new Map())} /><span class="visually-hidden">Pick all that are shown</span></label></th>
                <th class="c-picture"><span class="visually-hidden">Picture</span></th>
                {HEADS.map(({ sort, label, class: column }) => (
                  <th key={label} class={column} aria-sort={sort !== undefined && query.sort === sort ? query.direction : undefined}>
                    {sort === undefined ? label : <button type="button" class="sort" onClick={() => change(sortedBy(query, sort))}>{label}{query.sort === sort && (query.direction === 'ascending' ? <ArrowUp aria-hidden="true" /> : <ArrowDown aria-hidden="true" />)}</button>}
                  </th>
                ))}
                <th class="c-more"><span class="visually-hidden">Actions</span></th>
              </tr>
            </thead>
            <tbody ref={rows} onKeyDown={onKeyDown}>
              {list.studies.map((study, index) => (
                <StudyRow
                  key={study.studyInstanceUid}
                  store={store}
                  study={study}
                  index={index}
                  isActive={index === active}
                  isPicked={picked.has(study.studyInstanceUid)}
                  isOpen={open.has(study.studyInstanceUid)}
                  rights={rights}
                  onFocus={() => setActive(index)}
                  onPick={(value) => pick(study, value)}
                  onExpand={(value) => expand(study.studyInstanceUid, value)}
                  onAction={(action, set) => void (action === 'explicit' || action === 'stored' ? save(action, [study], set) : start(action, [study], set))}
                />
              ))}
            </tbody>
          </table>
          <More list={list} />
        </>
      )}
      {picked.size > 0 && (
        <div class="action-bar" role="toolbar" aria-label="What to do with the picked studies">
          <strong>{count(picked.size, 'study', 'studies')}</strong>
          <span class="soft number">{count(pickedStudies.reduce((sum, study) => sum + study.imageSets.length, 0), 'image set')}{hidden > 0 && ` · ${count(hidden)} not in this list`}</span>
          <div class="grow" />
          {rights.export && <Menu label="Export" look="plain" icon={<Download />} align="start" items={[{ label: 'For any program: uncompressed', onSelect: () => void save('explicit', pickedStudies) }, { label: 'As it is stored: smaller', onSelect: () => void save('stored', pickedStudies) }]}>Export</Menu>}
          {rights.copy && <Button icon={<Copy />} onClick={() => void start('copy', pickedStudies)}>Copy</Button>}
          {rights.copy && pickedStudies.some((study) => study.otherImageSetCount > 0) && <Button icon={<ShieldCheck />} onClick={() => void start('promote', pickedStudies)}>Promote</Button>}
          {rights.delete && <Button class="bad-text" icon={<Trash2 />} onClick={() => void start('delete', pickedStudies)}>Delete</Button>}
          <IconButton label="Pick nothing" onClick={() => setPicked(new Map())}><X /></IconButton>
        </div>
      )}
      {bulk !== null && <BulkDialog store={store} action={bulk.action} items={bulk.items} onClose={ended} />}
    </div>
  )
}

function useRights(store: string): Rights {
  const one = datastoreArn(store, '*')
  return {
    export: useAllowed('medical-imaging:GetDICOMInstance', datastoreArn(store)) === true,
    copy: useAllowed('medical-imaging:CopyImageSet', one) === true,
    delete: useAllowed('medical-imaging:DeleteImageSet', one) === true,
    view: useAllowed('medical-imaging:GetImageSetMetadata', one) !== false,
    pictures: useAllowed('medical-imaging:GetDICOMInstanceFrames', datastoreArn(store)) !== false
  }
}

function NothingFound({ query, change }: { query: ShownQuery; change: (values: Partial<ShownQuery>) => void }) {
  const suggestion = suggestionFor(query.text)
  const isAmongSome = query.studyInstanceUids !== undefined
  const hasText = query.text.trim() !== ''
  const isChosen = query.modalities.length > 0 || query.firstDay !== null || query.lastDay !== null || query.primary !== 'all'
  return (
    <EmptyState
      icon={<SearchX />}
      title={isAmongSome ? `No match among the ${query.label ?? 'studies that are shown'}` : 'No study matches'}
      action={
        <div class="row-wrap">
          {isAmongSome && (hasText || isChosen) && <Button look="primary" onClick={() => change({ studyInstanceUids: undefined, label: undefined })}>Search all studies</Button>}
          {suggestion !== null && <Button onClick={() => change(suggestion.change)}>{suggestion.label}</Button>}
          <Button onClick={() => change(EVERYTHING)}>Clear the search</Button>
        </div>
      }
    >
      {hasText && "Words are found anywhere in a patient's name, the patient ID, the accession number and the description; a study UID by its beginning. Dates and modalities are chosen below the search. "}
      {isChosen && 'Only what was chosen below the search is looked at: modality, date, or which image sets.'}
      {!hasText && !isChosen && 'They may have been deleted.'}
    </EmptyState>
  )
}

function Notes({ list }: { list: ReturnType<typeof useStudies> }) {
  if (list.sortedWithin === null && list.nonPrimaryWithin === null) return null
  return (
    <p class="soft small notes">
      {list.sortedWithin !== null && <>Sorted within the {count(list.sortedWithin)} newest matches; narrow the search to sort all of them. </>}
      {list.nonPrimaryWithin !== null && <>Of image sets that are not primary, the {count(list.nonPrimaryWithin)} newest were searched; sorted by their last change, all are.</>}
    </p>
  )
}

/** The end of the list: fetches what follows when it comes into view. */
function More({ list }: { list: ReturnType<typeof useStudies> }) {
  const end = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const element = end.current
    if (element === null || !list.hasMore || list.isLoading || list.isPaused || list.error !== undefined) return
    const watch = new IntersectionObserver((entries) => entries.some((each) => each.isIntersecting) && list.more(), { rootMargin: '600px' })
    watch.observe(element)
    return () => watch.disconnect()
  }, [list.hasMore, list.isLoading, list.isPaused, list.error, list.studies.length])
  return (
    <div class="list-end soft small" ref={end}>
      {list.isLoading && !list.isStale ? (
        <Spinner />
      ) : list.isPaused ? (
        <>Very many studies were looked at without a match. <Button look="quiet" onClick={list.more}>Go on searching</Button></>
      ) : list.error !== undefined ? (
        <Button onClick={list.more}>Try again</Button>
      ) : list.studies.length >= MOST_SHOWN ? (
        `These are the first ${count(MOST_SHOWN)}. Narrow the search to see others.`
      ) : list.total !== null ? (
        count(list.total, 'study', 'studies')
      ) : list.hasMore ? (
        <Button look="quiet" onClick={list.more}>Show more</Button>
      ) : (
        count(list.studies.length, 'study', 'studies')
      )}
    </div>
  )
}
