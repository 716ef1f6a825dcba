import { expect, test } from 'vitest'
import { seriesOf } from '../model/document'
import { MOST_LINES, tagLines } from './tags'

test('the groups of many frames leave room for the patient', () => {
  const frames = Array.from({ length: MOST_LINES }, () => ({ FrameContentSequence: [{ StackID: '1' }] }))
  const document = {
    DatastoreID: 'd', ImageSetID: 'i', Patient: { DICOM: { PatientID: 'P1' } },
    Study: { Series: { s: { Instances: { a: { DICOM: { PerFrameFunctionalGroupsSequence: frames, Rows: 4 } } } } } }
  }
  const lines = tagLines(seriesOf(document, { datastoreId: 'd', imageSetId: 'i' })[0]!.instances[0]!)
  expect(lines.length).toBe(MOST_LINES)
  expect(lines.slice(0, 3).map(({ keyword }) => keyword)).toEqual(['Rows', 'PatientID', 'PerFrameFunctionalGroupsSequence'])
})
