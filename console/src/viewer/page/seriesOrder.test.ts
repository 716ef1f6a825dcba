import { expect, test } from 'vitest'
import { Attributes } from '../model/attributes'
import type { Series } from '../model/document'
import { areOfOnePatient, joined } from './seriesOrder'

const series = (imageSetId: string, number: string, patient = 'A'): Series => ({
  uid: `1.${number}`, origin: { datastoreId: 'd', imageSetId }, attributes: new Attributes([{ SeriesNumber: number, PatientID: patient, PatientName: 'Doe' }]), instances: []
})
const names = (all: readonly Series[]) => all.map(({ origin, uid }) => `${origin.imageSetId}/${uid}`)

test('series are in the order of their numbers, and those of an image set come once', () => {
  const two = joined([series('b', '2')], [series('a', '1'), series('a', '3')])
  expect(names(two)).toEqual(['a/1.1', 'b/1.2', 'a/1.3'])
  expect(names(joined(two, [series('a', '1'), series('a', '3')]))).toEqual(names(two))
})

test('another identity is another patient, whatever the name', () => {
  expect(areOfOnePatient([series('a', '1'), series('b', '2')])).toBe(true)
  expect(areOfOnePatient([series('a', '1'), series('b', '2', 'B')])).toBe(false)
})
