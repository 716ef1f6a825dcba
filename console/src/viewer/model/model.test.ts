import { describe, expect, it } from 'vitest'
import { Attributes, attributesOf } from './attributes'
import { displaySetsOf } from './displaySets'
import { type InstanceRecord, type ImageSetDocument, seriesOf } from './document'
import { frameAttributes } from './frameAttributes'
import { centreOf, crossing, letters, marksOf, planeOf, UPRIGHT } from './geometry'
import { decodedPhotometric, describeImage, sampleType } from './image'
import { lookupTable, look, palette } from './lookupTable'
import { aspectOf, regionsOf, spacingAt, spacingOf } from './spacing'
import { dragged, fileVois, modalityPresets } from './windows'

const IMAGE = { Rows: 4, Columns: 6, BitsAllocated: 16, BitsStored: 12, PixelRepresentation: 0, PhotometricInterpretation: 'MONOCHROME2', SOPClassUID: '1.2' }

function instance(uid: string, extra: Record<string, unknown>, frames = 1): [string, InstanceRecord] {
  const ids = Array.from({ length: frames }, (_, i) => ({ ID: `${uid}-${i}` }))
  return [uid, { DICOM: { SOPInstanceUID: uid, ...IMAGE, ...extra }, ImageFrames: ids }]
}

function series(...instances: [string, InstanceRecord][]) {
  const document: ImageSetDocument = {
    DatastoreID: 'd',
    ImageSetID: 's',
    Patient: { DICOM: { PatientName: 'Doe^Jane', Modality: 'wrong' } },
    Study: { DICOM: { StudyInstanceUID: '1.1' }, Series: { '1.1.1': { DICOM: { Modality: 'CT' }, Instances: Object.fromEntries(instances) } } }
  }
  return seriesOf(document, { datastoreId: 'd', imageSetId: 's' })[0]!
}

const at = (z: number, number: number) => ({
  ImagePositionPatient: ['0', '0', `${z} `],
  ImageOrientationPatient: ['1', '0', '0', '0', '1', '0 '],
  PixelSpacing: ['0.5', '0.5 '],
  InstanceNumber: `${number}`,
  FrameOfReferenceUID: '1.9'
})

describe('attributes', () => {
  it('read padded DS and IS, and take the lowest level that has a keyword', () => {
    const attributes = new Attributes([{ WindowCenter: ['40 ', '400'] }, { WindowCenter: ['1'], KVP: '120 ' }])
    expect(attributes.numbers('WindowCenter')).toEqual([40, 400])
    expect(attributes.number('KVP')).toBe(120)
    expect(attributes.number('Rows')).toBeUndefined()
  })

  it('are merged from patient to instance, the lower level winning', () => {
    const [one] = series(instance('a', { InstanceNumber: '1' })).instances
    expect(one!.attributes.text('Modality')).toBe('CT')
    expect(one!.attributes.text('PatientName')).toBe('Doe^Jane')
    expect(one!.studyUid).toBe('1.1')
  })

  it('of a frame come from its functional groups, then from the shared ones', () => {
    const [uid, record] = instance('a', {
      SharedFunctionalGroupsSequence: [{ PixelMeasuresSequence: [{ PixelSpacing: ['2', '3'] }], FrameVOILUTSequence: [{ WindowCenter: ['1'], WindowWidth: ['2'] }] }],
      PerFrameFunctionalGroupsSequence: [{}, { FrameVOILUTSequence: [{ WindowCenter: ['7'], WindowWidth: ['9'] }] }]
    }, 2)
    const [one] = series([uid, record]).instances
    expect(frameAttributes(one!, 0).number('WindowCenter')).toBe(1)
    expect(frameAttributes(one!, 1).number('WindowCenter')).toBe(7)
    expect(spacingOf(frameAttributes(one!, 1))).toMatchObject({ row: 2, column: 3, unit: 'mm' })
    const ofVendor = { '2005140F': [{ WindowCenter: ['99'], WindowWidth: ['9'], RescaleSlope: '3' }] }
    const [other] = series(instance('b', { RescaleSlope: '1', PerFrameFunctionalGroupsSequence: [{ ...ofVendor, FrameVOILUTSequence: [{ WindowCenter: ['7'] }] }, ofVendor] }, 2)).instances
    expect([0, 1].map((frame) => frameAttributes(other!, frame).number('WindowCenter'))).toEqual([7, undefined])
    expect(frameAttributes(other!, 1).number('RescaleSlope')).toBe(1)
  })
})

describe('display sets', () => {
  it('are in the order of positions, from the end at which the numbers begin', () => {
    const down = series(instance('a', at(30, 1)), instance('b', at(10, 2)), instance('c', at(20, 3)), instance('d', at(0, 4)))
    const [set] = displaySetsOf(down)
    expect(set!.frames.map(({ instance }) => instance.uid)).toEqual(['a', 'c', 'b', 'd'])
  })

  it('are in the order of numbers where two images share a position', () => {
    const [set] = displaySetsOf(series(instance('a', at(30, 2)), instance('b', at(10, 3)), instance('c', at(30, 1))))
    expect(set!.frames.map(({ instance }) => instance.uid)).toEqual(['c', 'a', 'b'])
  })

  it('are one for single images, one for each multi-frame instance, one for what is no image', () => {
    const report: [string, InstanceRecord] = ['r', { DICOM: { SOPClassUID: '1.3' }, ImageFrames: [] }]
    const sets = displaySetsOf(series(instance('a', { InstanceNumber: '1' }), instance('m', { InstanceNumber: '2' }, 5), report))
    expect(sets.map(({ kind, frames }) => [kind, frames.length])).toEqual([['stack', 1], ['multiframe', 5], ['other', 0]])
  })
})

describe('the image description', () => {
  it('tells types of samples', () => {
    const type = (extra: object) => sampleType(describeImage(attributesOf({ ...IMAGE, ...extra })))
    expect(type({})).toBe('u16')
    expect(type({ PixelRepresentation: 1 })).toBe('i16')
    expect(type({ BitsAllocated: 8 })).toBe('u8')
    expect(type({ BitsAllocated: 1, BitsStored: 1 })).toBe('bit')
    expect(type({ BitsAllocated: 32, PixelRepresentation: undefined })).toBe('f32')
    expect(type({ BitsAllocated: 64 })).toBe('f64')
  })

  it('tells the colour space of decoded samples', () => {
    const image = (photometric: string) => describeImage(attributesOf({ ...IMAGE, PhotometricInterpretation: photometric }))
    expect(decodedPhotometric(image('YBR_RCT'), '1.2.840.10008.1.2.4.202')).toBe('RGB')
    expect(decodedPhotometric(image('YBR_FULL_422'), '1.2.840.10008.1.2.4.50')).toBe('RGB')
    expect(decodedPhotometric(image('YBR_FULL_422'), '1.2.840.10008.1.2.1')).toBe('YBR_FULL')
    expect(decodedPhotometric(image('YBR_FULL'), '1.2.840.10008.1.2.4.202')).toBe('YBR_FULL')
  })
})

describe('spacing', () => {
  const of = (item: object) => spacingOf(attributesOf({ ...item }))
  it('is millimetres in the patient for sections', () => {
    expect(of({ Modality: 'CT', PixelSpacing: ['0.4', '0.6'] })).toEqual({ row: 0.4, column: 0.6, unit: 'mm', note: '' })
  })
  it('says of projections whether it is calibrated', () => {
    const both = { Modality: 'DX', ImagerPixelSpacing: ['0.2', '0.2'] }
    expect(of(both).note).toBe('at the detector, magnified')
    expect(of({ ...both, PixelSpacing: ['0.2', '0.2'] }).note).toBe('at the detector, magnified')
    expect(of({ ...both, PixelSpacing: ['0.15', '0.15'] })).toMatchObject({ row: 0.15, note: 'calibrated' })
    expect(of({ ...both, PixelSpacing: ['0.15', '0.15'], PixelSpacingCalibrationType: 'FIDUCIAL' }).note).toBe('calibrated by a fiducial')
    expect(of({ Modality: 'CR', PixelSpacing: ['0.15', '0.15'] }).note).toBe('calibration unknown')
  })
  it('is pixels where nothing is known, with their shape', () => {
    expect(of({})).toEqual({ row: 1, column: 1, unit: 'px', note: '' })
    const oblong = of({ PixelAspectRatio: ['2', '1'] })
    expect(oblong).toMatchObject({ unit: 'px', note: 'pixels are not square' })
    expect(aspectOf(oblong)).toBe(0.5)
  })
  const plane = { RegionSpatialFormat: 1, RegionLocationMinX0: 10, RegionLocationMinY0: 10, RegionLocationMaxX1: 89, RegionLocationMaxY1: 89, PhysicalUnitsXDirection: 3, PhysicalUnitsYDirection: 3, PhysicalDeltaX: 0.02, PhysicalDeltaY: -0.04 }
  const spectrum = { ...plane, RegionSpatialFormat: 3, RegionLocationMinX0: 50, RegionLocationMinY0: 50, PhysicalUnitsXDirection: 4, PhysicalUnitsYDirection: 7 }
  const within = (sequence: object[], from: number, to: number, more: object = {}) => {
    const attributes = attributesOf({ Modality: 'US', SequenceOfUltrasoundRegions: sequence, ...more })
    return spacingAt([{ x: from, y: from }, { x: to, y: to }], regionsOf(attributes), spacingOf(attributes))
  }

  it('is that of the ultrasound region that holds all points', () => {
    expect(within([plane], 20, 40)).toEqual({ column: 0.2, row: 0.4, unit: 'mm', note: '' })
    expect(within([plane], 20, 95)).toMatchObject({ unit: 'px', row: 1, note: 'outside the calibrated region' })
    expect(within([plane], 20, 95, { PixelSpacing: ['0.2', '0.2'] })).toMatchObject({ unit: 'px', row: 1, column: 1 })
    expect(within([plane], 20, 40, { PixelSpacing: ['7', '7'] })).toMatchObject({ unit: 'mm', row: 0.4 })
  })

  it('is unknown in spectra and M-modes, and where regions of other scales overlap', () => {
    for (const order of [[plane, spectrum], [spectrum, plane]]) {
      expect(within(order, 20, 40)).toMatchObject({ unit: 'mm', row: 0.4 })
      expect(within(order, 60, 80)).toMatchObject({ unit: 'px' })
      expect(within(order, 20, 60)).toMatchObject({ unit: 'px', note: 'regions overlap here' })
    }
    expect(within([spectrum], 60, 80)).toMatchObject({ unit: 'px', note: 'the region has no lengths' })
    expect(within([{ ...plane, RegionSpatialFormat: 3 }], 20, 40)).toMatchObject({ unit: 'px' })
    expect(within([{ ...plane, PhysicalDeltaX: 0 }], 20, 40)).toMatchObject({ unit: 'px' })
    expect(within([{ ...plane, RegionLocationMaxX1: 30, RegionLocationMaxY1: 30 }, { ...plane, RegionLocationMinX0: 60, RegionLocationMinY0: 60 }], 20, 70)).toMatchObject({ unit: 'px', note: 'from one region to another' })
  })

  it('is known where regions of one scale overlap, as colour flow over tissue', () => {
    const colour = { ...plane, RegionLocationMinX0: 50, RegionLocationMinY0: 50, RegionDataType: 2 }
    expect(within([plane, colour], 60, 80)).toMatchObject({ unit: 'mm', row: 0.4 })
    expect(within([plane, colour], 20, 80)).toMatchObject({ unit: 'mm', row: 0.4 })
    expect(within([plane, { ...colour, PhysicalDeltaX: 0.03 }], 60, 80)).toMatchObject({ unit: 'px', note: 'regions overlap here' })
  })
})

describe('orientation', () => {
  it('names directions, the greatest part first', () => {
    expect(letters([1, 0, 0])).toBe('L')
    expect(letters([-0.8, 0.6, 0])).toBe('RP')
    expect(letters([0, 0.01, -1])).toBe('F')
  })
  it('marks an axial image, turned and flipped', () => {
    const axial = attributesOf({ ImageOrientationPatient: ['1', '0', '0', '0', '1', '0'] })
    expect(marksOf(axial, UPRIGHT)).toEqual({ left: 'R', right: 'L', top: 'A', bottom: 'P' })
    // Clockwise by 90°: the right of the image is at the bottom, its bottom at the left.
    expect(marksOf(axial, { rightX: 0, rightY: 1, downX: -1, downY: 0 })).toEqual({ left: 'P', right: 'A', top: 'R', bottom: 'L' })
    expect(marksOf(axial, { rightX: -1, rightY: 0, downX: 0, downY: 1 })).toEqual({ left: 'L', right: 'R', top: 'A', bottom: 'P' })
  })
  it('takes PatientOrientation where there are no cosines, and nothing from a quadruped', () => {
    const film = attributesOf({ PatientOrientation: ['A', 'FR'] })
    expect(marksOf(film, UPRIGHT)).toEqual({ left: 'P', right: 'A', top: 'HL', bottom: 'FR' })
    expect(marksOf(attributesOf({ ImageOrientationPatient: ['1', '0', '0', '0', '1', '0'], AnatomicalOrientationType: 'QUADRUPED' }), UPRIGHT).left).toBe('')
    expect(marksOf(attributesOf({}), UPRIGHT).left).toBe('')
  })
  it('finds where another plane crosses', () => {
    const base = { Rows: 10, Columns: 10, PixelSpacing: ['1', '1'], FrameOfReferenceUID: '1' }
    const axial = planeOf(attributesOf({ ...base, ImagePositionPatient: ['0', '0', '5'], ImageOrientationPatient: ['1', '0', '0', '0', '1', '0'] }))!
    const sagittal = planeOf(attributesOf({ ...base, ImagePositionPatient: ['4', '0', '9'], ImageOrientationPatient: ['0', '1', '0', '0', '0', '-1'] }))!
    const line = crossing(axial, sagittal)!
    expect([line.x1, line.x2]).toEqual([4.5, 4.5])
    expect([line.y1, line.y2].sort((a, b) => a - b)).toEqual([0, 10])
    expect(crossing(axial, axial)).toBeUndefined()
    expect(crossing(axial, { ...sagittal, frameOfReference: '2' })).toBeUndefined()
  })
})

describe('windows', () => {
  it('of the file come with their explanations, tables first', () => {
    const vois = fileVois(attributesOf({
      WindowCenter: ['40', '400', '40'], WindowWidth: ['80', '2000', '80'], WindowCenterWidthExplanation: ['BRAIN', 'BONE', 'AGAIN'],
      VOILUTSequence: [{ LUTDescriptor: [4, 10, 8], LUTData: [0, 80, 160, 255], LUTExplanation: 'NORMAL' }]
    }))
    expect(vois.map(({ name }) => name)).toEqual(['NORMAL', 'BRAIN', 'BONE'])
  })
  it('that are not valid are left out', () => {
    expect(fileVois(attributesOf({ WindowCenter: ['40'], WindowWidth: ['0'] }))).toEqual([])
    expect(fileVois(attributesOf({ WindowCenter: ['40'], WindowWidth: ['0.5'] }))).toEqual([])
    expect(fileVois(attributesOf({ WindowCenter: ['40'], WindowWidth: ['0.5'], VOILUTFunction: 'LINEAR_EXACT' }))).toHaveLength(1)
    expect(fileVois(attributesOf({ WindowCenter: ['40'], WindowWidth: ['5'], VOILUTFunction: 'OWN' }))).toEqual([])
  })
  it('of the modality are for CT in Hounsfield units', () => {
    const names = (item: object) => modalityPresets(attributesOf({ ...item })).map(({ name }) => name)
    expect(names({ Modality: 'CT', RescaleIntercept: '-1024' })).toContain('Lung')
    expect(names({ Modality: 'MR', RescaleIntercept: '0' })).toEqual([])
    expect(names({ Modality: 'CT', RescaleIntercept: '0', RescaleType: 'US' })).toEqual([])
  })
  it('are dragged wider to the right and to higher values downwards, never to nothing', () => {
    const window = { center: 40, width: 80, function: 'LINEAR' } as const
    expect(dragged(window, 30, 0).width).toBeGreaterThan(80)
    expect(dragged(window, 0, 30).center).toBeGreaterThan(40)
    expect(dragged(window, -9999, 0).width).toBe(1)
  })
})

describe('lookup tables', () => {
  it('have entries of 8 or 16 bits, in words or in bytes', () => {
    const words = lookupTable(attributesOf({ LUTDescriptor: [3, -5, 16], LUTData: [1, 500, 65535] }))!
    expect([look(words, -100), look(words, -4), look(words, 9)]).toEqual([1, 500, 65535])
    const bytes = lookupTable(attributesOf({ LUTDescriptor: [4, 0, 8], LUTData: btoa('\x01\x02\x03\x04') }))!
    expect([...bytes.entries]).toEqual([1, 2, 3, 4])
    expect(lookupTable(attributesOf({ LUTDescriptor: [4, 0, 8], LUTData: [1, 2] }))).toBeUndefined()
  })
  it('may be segmented', () => {
    const data = (words: number[]) => btoa(String.fromCharCode(...new Uint8Array(Uint16Array.from(words).buffer)))
    const one = data([0, 2, 100, 200, 1, 4, 600, 2, 1, 0, 0])
    const item = Object.fromEntries(['Red', 'Green', 'Blue'].flatMap((colour) => [
      [`${colour}PaletteColorLookupTableDescriptor`, [8, 0, 16]], [`Segmented${colour}PaletteColorLookupTableData`, one]
    ]))
    expect([...palette(attributesOf(item))![0].entries]).toEqual([100, 200, 300, 400, 500, 600, 100, 200])
  })
})

describe('frames of RT Dose', () => {
  const positions = (z: number, offsets: unknown, orientation = ['1', '0', '0', '0', '1', '0']) => {
    const dose = series(instance('a', { ...at(z, 1), ImageOrientationPatient: orientation, ...(offsets ? { GridFrameOffsetVector: offsets } : {}) }, 3)).instances[0]!
    return [0, 1, 2].map((frame) => planeOf(frameAttributes(dose, frame))?.position)
  }
  it('lie along the normal, or at places along z', () => {
    expect(positions(10, ['0', '2.5', '5'])).toEqual([[0, 0, 10], [0, 0, 12.5], [0, 0, 15]])
    expect(positions(10, ['0', '2.5', '5'], ['1', '0', '0', '0', '0', '-1'])).toEqual([[0, 0, 10], [0, 2.5, 10], [0, 5, 10]])
    expect(positions(10, ['10', '12', '14'])).toEqual([[0, 0, 10], [0, 0, 12], [0, 0, 14]])
  })
  it('have no plane where the file does not say it', () => {
    expect(positions(10, undefined)).toEqual([undefined, undefined, undefined])
    expect(positions(10, ['7', '12', '14'])).toEqual([undefined, undefined, undefined])
    expect(positions(10, ['0'])).toEqual([[0, 0, 10], undefined, undefined])
  })
})

it('the centre of a plane is that of its pixels', () => {
  expect(centreOf(planeOf(series(instance('a', at(3, 1))).instances[0]!.attributes)!)).toEqual([1.25, 0.75, 3])
})

it('the count of a table may read as a negative number', () => {
  const entries = Array.from({ length: 40_000 }, (_, i) => i)
  expect(lookupTable(attributesOf({ LUTDescriptor: [40_000 - 65_536, 0, 16], LUTData: entries }))!.entries.length).toBe(40_000)
  expect(lookupTable(attributesOf({ LUTDescriptor: [-40_000, 0, 16], LUTData: entries }))).toBeUndefined()
})
