import { expect, test } from 'vitest'
import type { Item } from '../model/attributes'
import { type ImageSetDocument, type Instance, seriesOf } from '../model/document'
import { LABEL_MAP, SEGMENTATION, SegmentIndex, inPlane, segmentationOf } from './segmentation'
import { planeOf } from '../model/geometry'
import type { ImageSource } from '../source'
import { Masks } from './masks'

function instance(uid: string, DICOM: Item, frames = 1): Instance {
  const document: ImageSetDocument = {
    DatastoreID: 'd', ImageSetID: 'i',
    Study: { DICOM: { StudyInstanceUID: '1' }, Series: { '2': { DICOM: {}, Instances: { [uid]: { DICOM, ImageFrames: Array.from({ length: frames }, (_, i) => ({ ID: String(i) })) } } } } }
  }
  return seriesOf(document, { datastoreId: 'd', imageSetId: 'i' })[0]!.instances[0]!
}

const image = (uid: string, z: number, extra: Item = {}) => instance(uid, {
  FrameOfReferenceUID: '9', ImageOrientationPatient: ['1', '0', '0', '0', '1', '0'], ImagePositionPatient: ['-10', '-20', String(z)],
  PixelSpacing: ['0.5', '0.5'], Rows: 8, Columns: 8, ...extra
})

const frame = (segment: number, z: number, source?: string): Item => ({
  SegmentIdentificationSequence: [{ ReferencedSegmentNumber: segment }],
  PlanePositionSequence: [{ ImagePositionPatient: ['-9', '-19', String(z)] }],
  ...(source && { DerivationImageSequence: [{ SourceImageSequence: [{ ReferencedSOPInstanceUID: source }] }] })
})

const seg = instance('seg', {
  SOPClassUID: SEGMENTATION, SegmentationType: 'BINARY', FrameOfReferenceUID: '9', Rows: 4, Columns: 4, BitsAllocated: 1, SeriesDescription: 'Liver',
  SegmentSequence: [
    { SegmentNumber: 1, SegmentLabel: 'Liver', RecommendedDisplayCIELabValue: [65535, 32896, 32896] },
    { SegmentNumber: 2, SegmentedPropertyTypeCodeSequence: [{ CodeMeaning: 'Mass' }] }
  ],
  SharedFunctionalGroupsSequence: [{ PlaneOrientationSequence: [{ ImageOrientationPatient: ['1', '0', '0', '0', '1', '0'] }], PixelMeasuresSequence: [{ PixelSpacing: ['1', '1'] }] }],
  PerFrameFunctionalGroupsSequence: [frame(1, 0), frame(2, 0), frame(1, 3)]
}, 3)

test('segments have labels and colours, those of the file first', () => {
  const [liver, mass] = segmentationOf(seg).segments
  expect([liver!.label, liver!.colour, mass!.label]).toEqual(['Liver', 'lab(100.00 0.00 0.00)', 'Mass'])
  expect(mass!.colour).toMatch(/^#/)
})

test('frames stand on the image in whose plane they are, pixel by pixel', () => {
  const index = new SegmentIndex([segmentationOf(seg)])
  const on = index.on(image('a', 0), 0)
  expect(on.map((each) => each.segment?.label)).toEqual(['Liver', 'Mass'])
  // A pixel of 1 mm covers two of 0.5 mm; its centre at -9 is the image's at +1 mm, pixel 2.
  expect(on[0]!.toImage).toEqual({ a: 2, b: 0, c: 0, d: 2, e: 1.5, f: 1.5 })
  expect(index.on(image('b', 3), 0).map((each) => each.frame)).toEqual([2])
})

test('nothing stands on an image between its frames, of another frame of reference, or tilted', () => {
  const index = new SegmentIndex([segmentationOf(seg)])
  expect(index.on(image('a', 1.5), 0)).toEqual([])
  expect(index.on(image('c', 0, { FrameOfReferenceUID: '8' }), 0)).toEqual([])
  expect(index.on(image('d', 0, { ImageOrientationPatient: ['1', '0', '0', '0', '0.9397', '0.3420'] }), 0)).toEqual([])
})

test('without a plane the image that it was made from counts, if it has the same size', () => {
  const bare = instance('bare', {
    SOPClassUID: LABEL_MAP, Rows: 8, Columns: 8, SegmentSequence: [{ SegmentNumber: 0 }, { SegmentNumber: 5, SegmentLabel: 'Rib' }],
    PerFrameFunctionalGroupsSequence: [{ DerivationImageSequence: [{ SourceImageSequence: [{ ReferencedSOPInstanceUID: 'x' }] }] }]
  })
  const index = new SegmentIndex([segmentationOf(bare)])
  const [on] = index.on(instance('x', { Rows: 8, Columns: 8 }), 0)
  expect([on!.segment, on!.segmentation.segments.map((each) => each.label)]).toEqual([undefined, ['Rib']])
  expect(index.on(instance('x', { Rows: 16, Columns: 8 }), 0)).toEqual([])
  expect(index.on(instance('y', { Rows: 8, Columns: 8 }), 0)).toEqual([])
})

test('a plane maps to itself by the identity', () => {
  const plane = planeOf(image('a', 0).attributes)!
  expect(inPlane(plane, plane)).toEqual({ a: 1, b: 0, c: 0, d: 1, e: 0, f: 0 })
})

test('a segmentation that names series stands on those alone', () => {
  const naming = (series: string) => new SegmentIndex([segmentationOf(instance('seg', { ...seg.attributes.layers[0], ReferencedSeriesSequence: [{ SeriesInstanceUID: series }] }, 3))])
  expect(naming('2').on(image('a', 0), 0).length).toBe(2)
  expect(naming('3').on(image('a', 0), 0)).toEqual([])
})

test('masks that are on show are loaded once, and the segments of a label map together', async () => {
  let asked = 0
  const source = { decodedFrame: async () => (asked++, new Uint8Array(4)) } as Partial<ImageSource> as ImageSource
  const masks = new Masks(source, () => undefined)
  const segments = Array.from({ length: 200 }, (_, i) => ({ SegmentNumber: i + 1 }))
  const map = segmentationOf(instance('map', { SOPClassUID: LABEL_MAP, Rows: 2, Columns: 2, BitsAllocated: 8, SegmentSequence: segments }))
  const of = { segmentation: map, frame: 0, segment: undefined, toImage: { a: 1, b: 0, c: 0, d: 1, e: 0, f: 0 } }
  masks.show(200)
  for (let round = 0; round < 3; round++) {
    for (const segment of map.segments) masks.get(of, segment)
    await new Promise((resolve) => setTimeout(resolve))
  }
  expect(asked).toBe(1)
})
