import { expect, it } from 'vitest'
import { type Item, attributesOf } from '../model/attributes'
import { describeImage } from '../model/image'
import type { DecodedFrame } from '../pixels/frame'
import { pixelValue } from './pixelValue'

const IMAGE = { Rows: 2, Columns: 2, BitsAllocated: 16, BitsStored: 12, PixelRepresentation: 0, PhotometricInterpretation: 'MONOCHROME2' }
const CT = { Modality: 'CT', RescaleSlope: '1', RescaleIntercept: '-1024' }

function valueOf(extra: Item, more: Partial<DecodedFrame> = {}, point = { x: 1.9, y: 0.2 }): string {
  const attributes = attributesOf({ ...IMAGE, ...extra })
  return pixelValue({ width: 2, height: 2, samples: 1, data: Uint16Array.of(0, 1064, 3, 4), reduce: 0, ...more }, point, attributes, describeImage(attributes))
}

it('a pixel has the value of its modality, with the unit that the file says', () => {
  expect(valueOf(CT)).toBe('40 HU')
  expect(valueOf({ ...CT, RescaleType: 'US' })).toBe('40')
  expect(valueOf({ ...CT, ImageType: ['ORIGINAL', 'PRIMARY', 'LOCALIZER'] })).toBe('40')
  expect(valueOf({ Modality: 'MR' })).toBe('1064')
  expect(valueOf({ Modality: 'PT', Units: 'BQML', RescaleSlope: '0.1', RescaleIntercept: '0' })).toBe('106.4 BQML')
})

it('without bits that are not stored, and says what is padding', () => {
  expect(valueOf(CT, { data: Uint16Array.of(0, 1064 | 0xf000, 3, 4) })).toBe('40 HU')
  expect(valueOf({ ...CT, PixelPaddingValue: 1064 })).toBe('padding')
})

it('is not told of small pictures, of colours, and outside', () => {
  expect(valueOf(CT, { reduce: 1 })).toBe('')
  expect(valueOf({ PhotometricInterpretation: 'PALETTE COLOR' })).toBe('')
  expect([{ x: -0.1, y: 0 }, { x: 2, y: 0 }, { x: 0, y: 2 }, { x: NaN, y: 0 }].map((point) => valueOf(CT, {}, point))).toEqual(['', '', '', ''])
  expect(valueOf(CT, {}, { x: 0, y: 0 })).toBe('-1024 HU')
})
