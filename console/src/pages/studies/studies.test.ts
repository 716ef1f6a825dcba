import { expect, test, vi } from 'vitest'
import type { Study } from '../../api/studies'
import { ApiError } from '../../api/errors'
import { type BulkItem, type ItemState, archives, concerned, itemsOf, mayBeTriedAgain, named, runBulk, setLabel } from './bulk'
import { NEWEST, daysAgo, isNarrowed, sortedBy, suggestionFor } from './query'
import { joined } from './studyList'

const { json } = vi.hoisted(() => ({ json: vi.fn() }))
vi.mock('../../api/request', () => ({ json }))

const study = (uid: string, primary = 1) => ({ studyInstanceUid: uid, primaryImageSetCount: primary }) as Study
const item = (id: string, instanceCount: number, isPrimary = true, of = study('1')) => ({ imageSetId: id, instanceCount, isPrimary, study: of }) as BulkItem

test('a study that was shown before is not shown again', () => {
  expect(joined([study('1'), study('2')], [study('2'), study('3')]).map((each) => each.studyInstanceUid)).toEqual(['1', '2', '3'])
})
test('archives hold at most 150 image sets and 50,000 instances, and nothing is left out', () => {
  const many = archives(Array.from({ length: 320 }, (_, i) => item(String(i), 1)))
  expect(many.map((each) => each.length)).toEqual([150, 150, 20])
  expect(archives([item('a', 40_000), item('b', 20_000), item('c', 30_000), item('d', 60_000)])).toEqual([['a'], ['b', 'c'], ['d']])
  expect(archives([])).toEqual([])
})
test('copying studies takes what is primary, promoting what is not, deleting all', () => {
  const items = [item('a', 1), item('b', 1, false), item('c', 1, false, study('2', 0))]
  const ids = (action: 'copy' | 'promote' | 'delete', isOne = false) => concerned(action, items, isOne).map((each) => each.imageSetId)
  expect([ids('copy'), ids('copy', true), ids('promote'), ids('delete')]).toEqual([['a', 'c'], ['a', 'b', 'c'], ['b', 'c'], ['a', 'b', 'c']])
})
test('a column is sorted in its natural direction first', () => {
  expect(sortedBy(NEWEST, 'patientName')).toEqual({ sort: 'patientName', direction: 'ascending' })
  expect(sortedBy(NEWEST, 'updated')).toEqual({ sort: 'updated', direction: 'ascending' })
  expect(sortedBy({ ...NEWEST, sort: 'patientName', direction: 'ascending' }, 'date')).toEqual({ sort: 'date', direction: 'descending' })
})
test('only what leaves studies out narrows', () => {
  expect([isNarrowed(NEWEST), isNarrowed({ ...NEWEST, text: '  ' }), isNarrowed({ ...NEWEST, sort: 'date' }), isNarrowed({ ...NEWEST, modalities: ['CT'] })]).toEqual([false, false, false, true])
})
test('days are counted back over months and daylight saving', () => {
  expect([daysAgo(0, new Date(2024, 2, 1, 0, 30)), daysAgo(1, new Date(2024, 2, 1, 0, 30)), daysAgo(365, new Date(2024, 11, 31, 23, 59))]).toEqual(['2024-03-01', '2024-02-29', '2024-01-01'])
})
test('words that are a day, a year or a modality are offered as such, and others stay words', () => {
  expect(suggestionFor('ct head 2015-02-06')).toEqual({ label: 'CT of 2015-02-06 with “head”', change: { text: 'head', modalities: ['CT'], firstDay: '2015-02-06', lastDay: '2015-02-06' } })
  expect(suggestionFor('20150206')?.change).toEqual({ text: '', firstDay: '2015-02-06', lastDay: '2015-02-06' })
  expect(suggestionFor('2015')).toEqual({ label: 'Studies of 2015', change: { text: '', firstDay: '2015-01-01', lastDay: '2015-12-31' } })
  expect([suggestionFor('Müller'), suggestionFor('20151306'), suggestionFor('')]).toEqual([null, null, null])
})
test('a series is named by what is known of it', () => {
  expect([setLabel('2', 'CT', 'Head'), setLabel(null, 'MR', null), setLabel(null, null, null)]).toEqual(['Series 2 · CT · Head', 'MR', 'Series'])
})
test('what is not found is not reported as deleted', async () => {
  json.mockResolvedValueOnce({}).mockRejectedValueOnce(new ApiError(404, 'ResourceNotFoundException', 'none'))
  const states: ItemState[] = []
  await runBulk('store', 'delete', [item('a', 1), item('b', 1)], (index, state) => (states[index] = state), () => false)
  expect(states.map((each) => each.is)).toEqual(['done', 'failed'])
})
test('what has changed since it was shown is kept, says so, and is not tried again unseen', async () => {
  const gone: string[] = []
  const latest: Record<string, string> = { a: '1', b: '3', c: '2' }
  json.mockImplementation(async (path: string, options: { method?: string }) => {
    const [, id = '', seen] = /^\/console\/api\/datastores\/store\/imagesets\/(\w)\?latestVersionId=(\d+)$/.exec(path) ?? []
    if (options.method !== 'DELETE') throw new Error(`unexpected ${path}`)
    if (latest[id] !== seen) throw new ApiError(409, 'ConflictException', `It was not deleted: 5 instances now, in version ${latest[id]}`)
    if (id === 'c' && gone.length < 2) {
      gone.push('')
      throw new ApiError(503, 'ServiceUnavailableException', 'away')
    }
    gone.push(id)
    return {}
  })
  const items = [{ ...item('a', 1), versionId: '1' }, { ...item('b', 3), versionId: '2' }, { ...item('c', 1), versionId: '2' }]
  const states: ItemState[] = []
  const run = (only?: (index: number) => boolean) => runBulk('store', 'delete', items, (index, state) => (states[index] = state), () => false, only)
  await run()
  expect(states).toEqual([{ is: 'done' }, { is: 'failed', message: 'It was not deleted: 5 instances now, in version 3', hasChanged: true }, { is: 'failed', message: 'away', hasChanged: false }])
  expect(states.map(mayBeTriedAgain)).toEqual([false, false, true])
  json.mockClear()
  await run((index) => mayBeTriedAgain(states[index]!))
  expect(json).toHaveBeenCalledTimes(1)
  expect([gone.filter(Boolean), states.map((each) => each.is)]).toEqual([['a', 'c'], ['done', 'failed', 'done']])
})
test('a copy that still runs when nobody waits any longer is not reported as done', async () => {
  vi.useFakeTimers()
  json.mockImplementation(async (path: string) => (path.includes('copyImageSet') ? { destinationImageSetProperties: { imageSetId: 'b' } } : { imageSetState: 'LOCKED' }))
  let last: ItemState | undefined
  const over = runBulk('store', 'copy', [item('a', 1)], (_, state) => (last = state), () => false)
  await vi.advanceTimersByTimeAsync(130_000)
  await over
  vi.useRealTimers()
  expect(last).toMatchObject({ is: 'failed', message: expect.stringContaining('still working') })
})
test('trying again waits for the copy that was begun, and makes no second one', async () => {
  const asked: string[] = []
  let isAway = true
  json.mockImplementation(async (path: string) => {
    asked.push(path.includes('copyImageSet') ? 'copy' : 'look')
    if (path.includes('copyImageSet')) return { destinationImageSetProperties: { imageSetId: 'b' } }
    if (isAway) throw new ApiError(503, 'ServiceUnavailableException', 'away')
    return { imageSetState: 'ACTIVE', imageSetWorkflowStatus: 'COPIED' }
  })
  const items = [item('a', 1)]
  const states: string[] = []
  const run = () => runBulk('store', 'promote', items, (_, state) => states.push(state.is), () => false)
  await run()
  isAway = false
  await run()
  expect([states, asked]).toEqual([['running', 'failed', 'running', 'done'], ['copy', 'look', 'look']])
})
test('each patient of a study is named', async () => {
  const smith = { patientId: 'S1', patientName: 'Smith^Jo' }
  const set = (imageSetId: string, otherPatient: unknown = null) => ({ imageSetId, versionId: '1', isPrimary: otherPatient === null, instanceCount: 2, seriesNumber: null, modality: 'CT', seriesDescription: null, otherPatient })
  const of = { ...study('1'), ...smith, imageSets: [set('a'), set('b', { patientId: 'D1', patientName: 'Doe^Jo' }), set('c')] } as Study
  const groups = named(await itemsOf('store', [of]))
  expect(groups.map((each) => [each.patient.patientId, each.items.map((item) => item.imageSetId).join(), each.isOther])).toEqual([['S1', 'a,c', false], ['D1', 'b', true]])
  json.mockResolvedValueOnce({ imageSetsMetadataSummaries: [{ imageSetId: 'd', version: 2, DICOMTags: { DICOMPatientId: 'D1' } }] })
  expect(named(await itemsOf('store', [{ ...of, hasMoreImageSets: true }]))).toMatchObject([{ patient: { patientId: 'D1', patientName: null }, isOther: true }])
})
