import { expect, it } from 'vitest'
import type { Item } from '../model/attributes'
import { displaySetsOf } from '../model/displaySets'
import { seriesOf } from '../model/document'
import { rangeOfFrames } from './stackRange'

function framesOf(...images: { ends?: [number, number]; extra?: Item }[]) {
  const IMAGE = { Rows: 2, Columns: 2, BitsAllocated: 16, BitsStored: 16, PixelRepresentation: 1, PhotometricInterpretation: 'MONOCHROME2' }
  const Instances = Object.fromEntries(images.map(({ ends, extra }, i) => {
    const frame = { ID: `f${i}`, ...(ends && { MinPixelValue: ends[0], MaxPixelValue: ends[1], PixelDataChecksumFromBaseToFullResolution: [{ Width: 2, Height: 2, Checksum: 1 }] }) }
    return [`i${i}`, { DICOM: { ...IMAGE, InstanceNumber: `${i}`, ...extra }, StoredTransferSyntaxUID: '1.2.840.10008.1.2.4.202', ImageFrames: [frame] }]
  }))
  const document = { DatastoreID: 'd', ImageSetID: 's', Study: { Series: { x: { Instances } } } }
  return displaySetsOf(seriesOf(document, { datastoreId: 'd', imageSetId: 's' })[0]!)[0]!.frames
}
const rescaled = (slope: string, more: Item = {}): Item => ({ RescaleSlope: slope, RescaleIntercept: '0', ...more })

it('the range of a stack is that of the values of each frame by its own slope', () => {
  expect(rangeOfFrames(framesOf({ ends: [0, 100], extra: rescaled('2') }, { ends: [10, 32767], extra: rescaled('0.5') }, { ends: [0, 32767], extra: rescaled('4') }))).toEqual([0, 131068])
  expect(rangeOfFrames(framesOf({ ends: [0, 100], extra: rescaled('-1') }))).toEqual([-100, 0])
  expect(rangeOfFrames(framesOf({ extra: { BitsAllocated: 8, BitsStored: 8, PixelRepresentation: 0 } }))).toEqual([0, 255])
})

it('is not known where a frame has padding among its values, or nothing was noted of it', () => {
  const padded = (value: number): Item => rescaled('1', { PixelPaddingValue: value })
  expect(rangeOfFrames(framesOf({ ends: [0, 9] }, { ends: [-2000, 9], extra: padded(-2000) }))).toBeUndefined()
  expect(rangeOfFrames(framesOf({ ends: [0, 9] }, { ends: [-5, 9], extra: padded(-2000) }))).toEqual([-5, 9])
  expect(rangeOfFrames(framesOf({ ends: [0, 9] }, {}))).toBeUndefined()
  expect(rangeOfFrames(framesOf({ ends: [7, 7] }))).toBeUndefined()
})
