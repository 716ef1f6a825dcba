import { useEffect, useState } from 'preact/hooks'
import { SlidersHorizontal, X } from 'lucide-preact'
import type { Primary, StudySort } from '../../api/studies'
import { Button } from '../../ui/Button'
import { SearchField, SelectField, TextField } from '../../ui/Fields'
import { EVERYTHING, MODALITIES, PERIODS, type ShownQuery, daysAgo, isNarrowed } from './query'

const SORTS: { value: StudySort; label: string }[] = [
  { value: 'updated', label: 'Last changed' },
  { value: 'date', label: 'Study date' },
  { value: 'patientName', label: 'Patient name' },
  { value: 'patientId', label: 'Patient ID' },
  { value: 'modality', label: 'Modality' },
  { value: 'description', label: 'Description' }
]

export function StudyFilters({ query, change }: { query: ShownQuery; change: (change: Partial<ShownQuery>) => void }) {
  const [text, setText] = useState(query.text)
  const [isOpen, setOpen] = useState(false)
  // Asked when the fingers rest.
  useEffect(() => {
    if (text === query.text) return
    const timer = setTimeout(() => change({ text }), 200)
    return () => clearTimeout(timer)
  }, [text])
  const isOwn = query.firstDay !== null || query.lastDay !== null
  const [period, setPeriod] = useState(isOwn ? 'own' : '')
  const choosePeriod = (value: string) => {
    setPeriod(value)
    if (value === '') change({ firstDay: null, lastDay: null })
    else if (value !== 'own') change({ firstDay: daysAgo(Number(value)), lastDay: null })
  }
  const clear = () => {
    setText('')
    setPeriod('')
    change(EVERYTHING)
  }
  return (
    <div class="study-filters" role="search">
      <div class="study-search">
        <SearchField isMain label="Search patient, accession number, description, UID" value={text} onValue={setText} maxLength={256} onKeyDown={(event) => { if (event.key === 'Enter') change({ text }) }} />
        <Button class="filters-button" icon={<SlidersHorizontal />} aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>Filters</Button>
      </div>
      {query.studyInstanceUids !== undefined && (
        <div><Button class="chip" icon={<X />} aria-label={`Show all studies again, not only ${query.label ?? 'these'}`} onClick={() => change({ studyInstanceUids: undefined, label: undefined })}>{query.label ?? 'Only some studies'}</Button></div>
      )}
      <div class={`study-choices ${isOpen ? 'open' : ''}`}>
        <SelectField label="Modality" hideLabel value={query.modalities[0] ?? ''} onValue={(value) => change({ modalities: value === '' ? [] : [value] })} options={[{ value: '', label: 'Any modality' }, ...MODALITIES.map((each) => ({ value: each, label: each }))]} />
        <SelectField label="Study date" hideLabel value={period} onValue={choosePeriod} options={PERIODS} />
        {period === 'own' && (
          <>
            <TextField label="From" hideLabel type="date" value={query.firstDay ?? ''} onValue={(value) => change({ firstDay: value === '' ? null : value })} />
            <TextField label="To" hideLabel type="date" value={query.lastDay ?? ''} onValue={(value) => change({ lastDay: value === '' ? null : value })} />
          </>
        )}
        <SelectField label="Image sets" hideLabel value={query.primary} onValue={(value) => change({ primary: value as Primary })} options={[{ value: 'all', label: 'All image sets' }, { value: 'primary', label: 'Primary' }, { value: 'nonPrimary', label: 'Not primary' }]} />
        <div class="sort-choice"><SelectField label="Sorted by" hideLabel value={query.sort} onValue={(value) => change({ sort: value as StudySort, direction: value === 'updated' || value === 'date' ? 'descending' : 'ascending' })} options={SORTS.map((each) => ({ ...each, label: `By ${each.label.toLowerCase().replace(' id', ' ID')}` }))} /></div>
        {isNarrowed(query) && <Button look="quiet" icon={<X />} onClick={clear}>Clear</Button>}
      </div>
    </div>
  )
}
