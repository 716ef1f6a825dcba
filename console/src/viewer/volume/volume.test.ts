import { expect, test } from 'vitest'
import type { Item } from '../model/attributes'
import { displaySetsOf } from '../model/displaySets'
import { type ImageSetDocument, seriesOf } from '../model/document'
import { flagsOf, isQuadruped } from './planeTexts'
import { NotAVolume, gridOf, loadVolume, planeOfSlice } from './volume'
import type { ImageSource } from '../source'
import type { Decoders } from '../pixels/decoders'

function setOf(slices: Item[]) {
  const shared: Item = {
    SOPClassUID: '1.2.840.10008.5.1.4.1.1.2', Rows: 2, Columns: 2, BitsAllocated: 16, BitsStored: 12, PixelRepresentation: 0, SamplesPerPixel: 1,
    PhotometricInterpretation: 'MONOCHROME2', FrameOfReferenceUID: '9', ImageOrientationPatient: ['1', '0', '0', '0', '1', '0'], PixelSpacing: ['0.5', '0.25'],
    RescaleSlope: '1', RescaleIntercept: '-1000'
  }
  const document: ImageSetDocument = {
    DatastoreID: 'd', ImageSetID: 'i',
    Study: { DICOM: { StudyInstanceUID: '1' }, Series: { '2': { DICOM: {}, Instances: Object.fromEntries(slices.map((slice, i) => [String(i), { DICOM: { ...shared, InstanceNumber: i, ...slice }, StoredTransferSyntaxUID: '1.2.840.10008.1.2.1', ImageFrames: [{ ID: String(i) }] }])) } } }
  }
  return displaySetsOf(seriesOf(document, { datastoreId: 'd', imageSetId: 'i' })[0]!)[0]!
}
const at = (z: number, extra: Item = {}): Item => ({ ImagePositionPatient: ['1', '2', String(z)], ...extra })

test('even slices make a block that begins at its lowest slice', () => {
  const up = gridOf(setOf([at(0), at(3), at(6), at(9)]))
  expect([up.spacing, up.origin, up.isReversed, up.slices]).toEqual([[0.25, 0.5, 3], [1, 2, 0], false, 4])
  const down = gridOf(setOf([at(9), at(6), at(3), at(0)]))
  expect([down.origin, down.isReversed]).toEqual([[1, 2, 0], true])
})

test('each slice lies where it was taken', () => {
  const grid = gridOf(setOf([at(9), at(6), at(3), at(0)]))
  expect([0, 1, 3].map((slice) => planeOfSlice(grid, slice)['imagePositionPatient'])).toEqual([[1, 2, 0], [1, 2, 3], [1, 2, 9]])
  expect(planeOfSlice(grid, 0)['pixelSpacing']).toEqual([0.5, 0.25])
})

test('slices that are turned against each other are refused', () => {
  const turned = (degrees: number): Item => ({ ImageOrientationPatient: [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180), 0, -Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180), 0].map(String) })
  expect(() => gridOf(setOf([at(0), at(3), at(6), at(9, turned(0.6))]))).toThrow('not parallel')
  expect(gridOf(setOf([at(0), at(3), at(6), at(9, turned(0.05))])).slices).toBe(4)
})

test('a missing slice, a tilted gantry, other sizes and too few slices are refused with the reason', () => {
  expect(() => gridOf(setOf([at(0), at(3), at(9), at(12)]))).toThrow('even distances')
  expect(() => gridOf(setOf([0, 3, 6, 9].map((z) => at(z, { ImagePositionPatient: ['1', String(2 + z * 0.3), String(z)] }))))).toThrow('sheared')
  expect(() => gridOf(setOf([at(0), at(3), at(6), at(9, { PixelSpacing: ['0.5', '0.5'] })]))).toThrow('one size')
  expect(() => gridOf(setOf([at(0), at(3), at(6)]))).toThrow(NotAVolume)
})

test('values are those after the modality LUT, slice by slice from the lowest', async () => {
  const set = setOf([at(9), at(6), at(3), at(0)])
  const decodedFrame: ImageSource['decodedFrame'] = async (instance) => new Uint8Array(new Uint16Array(4).fill(Number(instance.uid) * 100).buffer)
  const volume = await loadVolume(set, { decodedFrame } as ImageSource, undefined as unknown as Decoders, () => undefined, new AbortController().signal)
  expect(volume.values).toBeInstanceOf(Int16Array)
  expect(Array.from(volume.values).filter((_, i) => i % 4 === 0)).toEqual([-700, -800, -900, -1000])
})

test('planes tell of a set that is not primary, and of loss in any of their slices', () => {
  const lost: Item = { LossyImageCompression: '01', LossyImageCompressionRatio: ['10'] }
  expect(flagsOf(setOf([at(0), at(3)]), new Set())).toEqual([])
  expect(flagsOf(setOf([at(0, lost), at(3, lost)]), new Set(['i']))).toEqual(['Not primary', 'Lossy 10 : 1'])
  expect(flagsOf(setOf([at(0), at(3, lost)]), new Set())).toEqual(['Lossy'])
})

test('planes through a four-legged patient have no letters of people', () => {
  expect([isQuadruped(setOf([at(0)])), isQuadruped(setOf([at(0, { AnatomicalOrientationType: 'QUADRUPED' })]))]).toEqual([false, true])
})
