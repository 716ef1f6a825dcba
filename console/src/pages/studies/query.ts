// What is looked for in each data store. It is kept in memory only, so that the way back from the viewer leads to the same list.

import { signal } from '@preact/signals'
import type { StudyQuery, StudySort } from '../../api/studies'
import { onOtherPerson } from '../../session/session'

export const NEWEST: StudyQuery = { text: '', modalities: [], firstDay: null, lastDay: null, primary: 'all', sort: 'updated', direction: 'descending' }

/** `label` says what the named studies are, such as "3 studies of an import". */
export interface ShownQuery extends StudyQuery {
  label?: string
}

export const queries = signal<Record<string, ShownQuery>>({})
// What one person has looked for is no business of the next.
onOtherPerson(() => (queries.value = {}))

export function queryOf(store: string): ShownQuery {
  return queries.value[store] ?? NEWEST
}

export function setQuery(store: string, change: Partial<ShownQuery>): void {
  queries.value = { ...queries.value, [store]: { ...queryOf(store), ...change } }
}

/** Whether anything but the order was chosen. */
export function isNarrowed(query: StudyQuery): boolean {
  return query.text.trim() !== '' || query.modalities.length > 0 || query.firstDay !== null || query.lastDay !== null || query.primary !== 'all' || query.studyInstanceUids !== undefined
}

/** What shows all studies again. */
export const EVERYTHING: Partial<ShownQuery> = { text: '', modalities: [], studyInstanceUids: undefined, label: undefined, firstDay: null, lastDay: null, primary: 'all' }

export const MODALITIES = ['CT', 'MR', 'US', 'CR', 'DX', 'MG', 'XA', 'RF', 'NM', 'PT', 'OT', 'SM', 'OP', 'ES', 'ECG', 'SEG', 'SR', 'DOC', 'RTSTRUCT', 'RTDOSE']

export interface Suggestion {
  label: string
  change: Partial<ShownQuery>
}

/** What was perhaps meant by words that are days, years or modalities, which the text is not searched for. */
export function suggestionFor(text: string): Suggestion | null {
  const rest: string[] = []
  let [modality, firstDay, lastDay, when] = ['', '', '', '']
  for (const word of text.trim().split(/\s+/)) {
    const day = /^((?:19|20)\d{2})-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])$/.exec(word)
    if (modality === '' && MODALITIES.includes(word.toUpperCase())) modality = word.toUpperCase()
    else if (when === '' && day !== null) firstDay = lastDay = when = `${day[1]}-${day[2]}-${day[3]}`
    else if (when === '' && /^(19|20)\d{2}$/.test(word)) [firstDay, lastDay, when] = [`${word}-01-01`, `${word}-12-31`, word]
    else rest.push(word)
  }
  if (modality === '' && when === '') return null
  return {
    label: [modality || 'Studies', when && `of ${when}`, rest.length > 0 && `with “${rest.join(' ')}”`].filter(Boolean).join(' '),
    change: { text: rest.join(' '), ...(modality && { modalities: [modality] }), ...(when && { firstDay, lastDay }) }
  }
}

/** The order after a click on a column's head: its natural direction first, then the other one. */
export function sortedBy(query: StudyQuery, sort: StudySort): Pick<StudyQuery, 'sort' | 'direction'> {
  const natural = sort === 'updated' || sort === 'date' ? 'descending' : 'ascending'
  if (query.sort !== sort) return { sort, direction: natural }
  return { sort, direction: query.direction === 'ascending' ? 'descending' : 'ascending' }
}

export const PERIODS = [
  { value: '', label: 'Any date' },
  { value: '0', label: 'Today' },
  { value: '7', label: 'Last 7 days' },
  { value: '30', label: 'Last 30 days' },
  { value: '365', label: 'Last 12 months' },
  { value: 'own', label: 'From … to …' }
]

/** `YYYY-MM-DD` of so many days ago, here. */
export function daysAgo(days: number, now = new Date()): string {
  const then = new Date(now.getFullYear(), now.getMonth(), now.getDate() - days)
  const two = (value: number) => String(value).padStart(2, '0')
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}`
}
