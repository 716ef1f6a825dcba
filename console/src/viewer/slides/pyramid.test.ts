import { expect, test } from 'vitest'
import type { Item } from '../model/attributes'
import { displaySetsOf } from '../model/displaySets'
import { type ImageSetDocument, type Instance, seriesOf } from '../model/document'
import { describeImage } from '../model/image'
import { NotAPyramid, WHOLE_SLIDE, isSlideLevel, pyramidOf } from './pyramid'
import { greysOf } from './tiles'

function series(instances: Record<string, { DICOM: Item; frames: number }>) {
  const document: ImageSetDocument = {
    DatastoreID: 'd', ImageSetID: 'i',
    Study: { DICOM: { StudyInstanceUID: '1' }, Series: { '2': { DICOM: {}, Instances: Object.fromEntries(Object.entries(instances).map(([uid, { DICOM, frames }]) => [uid, { DICOM, ImageFrames: Array.from({ length: frames }, (_, i) => ({ ID: `${uid}${i}` })) }])) } } }
  }
  return seriesOf(document, { datastoreId: 'd', imageSetId: 'i' })[0]!
}

const level = (width: number, height: number, extra: Item = {}): Item => ({
  SOPClassUID: WHOLE_SLIDE, ImageType: ['DERIVED', 'PRIMARY', 'VOLUME', 'NONE'], TotalPixelMatrixColumns: width, TotalPixelMatrixRows: height, Columns: 256, Rows: 256,
  SamplesPerPixel: 3, PhotometricInterpretation: 'RGB', BitsAllocated: 8, BitsStored: 8, DimensionOrganizationType: 'TILED_FULL', ...extra
})
const one = (DICOM: Item, frames: number): Instance => series({ a: { DICOM, frames } }).instances[0]!

test('the levels of a slide are one display set, its label is another', () => {
  const sets = displaySetsOf(series({
    a: { DICOM: level(600, 500), frames: 6 }, b: { DICOM: level(300, 250), frames: 2 },
    c: { DICOM: level(200, 200, { ImageType: ['ORIGINAL', 'PRIMARY', 'LABEL', 'NONE'] }), frames: 1 }
  }))
  expect(sets.map((set) => [set.kind, set.instances.length])).toEqual([['stack', 1], ['slide', 2]])
  expect(sets[1]!.frames.length).toBe(2)
})

test('tiles of a full matrix lie row by row', () => {
  const { levels, leftOut } = pyramidOf([one(level(300, 250), 2), one(level(600, 500), 6)])
  expect(levels.map(({ width }) => width)).toEqual([600, 300])
  expect([levels[0]!.frameAt(0, 0), levels[0]!.frameAt(2, 1), levels[0]!.frameAt(3, 0), levels[0]!.frameAt(0, -1)]).toEqual([0, 5, undefined, undefined])
  expect(leftOut).toBe('')
})

test('tiles of a sparse matrix lie where they say, others are missing', () => {
  const at = (column: number, row: number): Item => ({ PlanePositionSlideSequence: [{ ColumnPositionInTotalImagePixelMatrix: column, RowPositionInTotalImagePixelMatrix: row }] })
  const item = level(600, 500, { DimensionOrganizationType: 'TILED_SPARSE', PerFrameFunctionalGroupsSequence: [at(257, 1), at(1, 257)] })
  const { levels } = pyramidOf([one(item, 2)])
  expect([levels[0]!.frameAt(1, 0), levels[0]!.frameAt(0, 1), levels[0]!.frameAt(0, 0)]).toEqual([0, 1, undefined])
  expect(() => pyramidOf([one({ ...item, PerFrameFunctionalGroupsSequence: [at(100, 1), at(1, 257)] }, 2)])).toThrow(NotAPyramid)
  expect(() => pyramidOf([one({ ...item, PerFrameFunctionalGroupsSequence: [at(257, 1)] }, 2)])).toThrow(NotAPyramid)
})

test('a sparse matrix shows the first optical path only, also where it has no tile', () => {
  const at = (column: number, path: string): Item => ({
    PlanePositionSlideSequence: [{ ColumnPositionInTotalImagePixelMatrix: column, RowPositionInTotalImagePixelMatrix: 1 }],
    OpticalPathIdentificationSequence: [{ OpticalPathIdentifier: path }]
  })
  const item = level(512, 256, {
    DimensionOrganizationType: 'TILED_SPARSE', OpticalPathSequence: [{ OpticalPathIdentifier: 'DAPI' }, { OpticalPathIdentifier: 'FITC' }],
    PerFrameFunctionalGroupsSequence: [at(1, 'FITC'), at(257, 'FITC'), at(1, 'DAPI')]
  })
  const { levels, leftOut } = pyramidOf([one(item, 3)])
  expect([levels[0]!.frameAt(0, 0), levels[0]!.frameAt(1, 0), leftOut]).toEqual([2, undefined, 'Not shown: optical path 2.'])
})

test('what is not shown is said, and what cannot be is refused', () => {
  expect(pyramidOf([one(level(300, 250, { TotalPixelMatrixFocalPlanes: 3, NumberOfOpticalPaths: 2 }), 12)]).leftOut).toBe('Not shown: optical path 2, focal planes 2 to 3.')
  expect(pyramidOf([one(level(600, 500), 6), one(level(300, 100), 2)]).leftOut).toBe('Not shown: images of another shape.')
  expect(() => pyramidOf([one(level(600, 500), 5)])).toThrow(NotAPyramid)
  expect(isSlideLevel(one(level(600, 500, { SamplesPerPixel: 1, PhotometricInterpretation: 'MONOCHROME2', BitsStored: 16 }), 6))).toBe(false)
})

test('grey tiles are those of unsigned bytes; all others are shown as stacks, with a window', () => {
  const grey = (extra: Item): Instance => one(level(600, 500, { SamplesPerPixel: 1, PhotometricInterpretation: 'MONOCHROME2', ...extra }), 6)
  expect(isSlideLevel(grey({}))).toBe(true)
  for (const extra of [{ PhotometricInterpretation: 'MONOCHROME1' }, { BitsAllocated: 16 }, { BitsStored: 4 }, { PixelRepresentation: 1 }]) {
    expect(isSlideLevel(grey(extra))).toBe(false)
  }
  const image = describeImage(grey({}).attributes)
  expect([...greysOf(Uint8Array.of(0x12), image)]).toEqual([0xff121212])
  expect(() => greysOf(Uint16Array.of(0x1234), { ...image, bitsStored: 16 })).toThrow('Grey tiles of 16 bits in MONOCHROME2 cannot be shown.')
  expect(() => greysOf(Int8Array.of(-1), { ...image, signed: true })).toThrow('with a sign')
  expect(() => greysOf(Uint8Array.of(1), { ...image, photometric: 'MONOCHROME1' })).toThrow('MONOCHROME1')
})
