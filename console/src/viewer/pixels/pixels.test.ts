import { crc32 as zlibCrc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { attributesOf } from '../model/attributes'
import type { Instance } from '../model/document'
import { describeImage } from '../model/image'
import type { Window } from '../model/windows'
import { codestreamOf } from './boxes'
import { drawColour } from './colour'
import { crc32 } from './crc32'
import type { DecodedFrame } from './frame'
import { FrameCache } from './frameCache'
import { drawGrey, fallbackWindow, greyOf, isInverse, modalityTransform, valueRange, windowed } from './greyscale'
import { nativeFrame } from './native'
import { isDecodedHere } from './oneFrame'
import { outwards } from './order'
import { drawOverlays } from './overlayPlanes'
import { PackedReader } from './packed'
import { linesInOrder } from './planes'

const IMAGE = { Rows: 1, Columns: 4, BitsAllocated: 16, BitsStored: 12, PixelRepresentation: 0, PhotometricInterpretation: 'MONOCHROME2' }
const frame = (data: DecodedFrame['data'], samples = 1): DecodedFrame => ({ width: data.length / samples, height: 1, samples, data, reduce: 0 })
const reds = (pixels: Uint32Array) => [...pixels].map((one) => one & 0xff)

describe('windows', () => {
  // PS3.3 C.11.2.1.2.1, note: the window of center 2048 and width 4096 on 12 bits.
  it('of LINEAR follow the formula of the standard', () => {
    const window: Window = { center: 2048, width: 4096, function: 'LINEAR' }
    expect(windowed(window, 0)).toBe(0)
    expect(windowed(window, 4095)).toBe(1)
    expect(windowed({ center: 0, width: 100, function: 'LINEAR' }, -0.5)).toBe(0.5)
    expect(windowed({ center: 0, width: 1, function: 'LINEAR' }, -0.5)).toBe(0)
    expect(windowed({ center: 0, width: 1, function: 'LINEAR' }, 0)).toBe(1)
  })
  it('of LINEAR_EXACT and SIGMOID, too', () => {
    expect(windowed({ center: 10, width: 20, function: 'LINEAR_EXACT' }, 15)).toBe(0.75)
    expect(windowed({ center: 10, width: 20, function: 'SIGMOID' }, 10)).toBe(0.5)
    expect(windowed({ center: 10, width: 20, function: 'SIGMOID' }, 20)).toBeCloseTo(1 / (1 + Math.exp(-2)))
  })
})

describe('greys', () => {
  const voi = { kind: 'window', window: { center: 40, width: 80, function: 'LINEAR' } } as const
  const attributes = attributesOf({ ...IMAGE, RescaleSlope: '1 ', RescaleIntercept: '-1024 ' })
  const image = describeImage(attributes)
  it('are those of each stored value, rescaled', () => {
    const transform = { image, modality: modalityTransform(attributes), voi, inverse: false }
    const data = Uint16Array.from([0, 1024, 1064, 1104])
    expect(reds(drawGrey(frame(data), transform))).toEqual([...data].map((stored) => greyOf(transform, stored)))
    expect(reds(drawGrey(frame(data), transform))).toEqual([0, 0, 129, 255])
    expect(reds(drawGrey(frame(data), { ...transform, inverse: true }))).toEqual([255, 255, 126, 0])
  })
  it('do not see bits above those that are stored', () => {
    const transform = { image, modality: modalityTransform(attributes), voi, inverse: false }
    expect(reds(drawGrey(frame(Uint16Array.from([1064, 1064 | 0xf000])), transform))).toEqual([129, 129])
    const signed = { ...image, signed: true }
    const plain = { image: signed, modality: { kind: 'linear', slope: 1, intercept: 0 } as const, voi, inverse: false }
    expect(reds(drawGrey(frame(Int16Array.from([-1, 0x0fff])), plain))[1]).toBe(greyOf(plain, -1))
  })
  it('of small pictures that overshoot stay at the end, and do not become those of the other one', () => {
    const transform = { image, modality: { kind: 'linear', slope: 1, intercept: 0 } as const, voi: { kind: 'window', window: { center: 2048, width: 4096, function: 'LINEAR' } } as const, inverse: false }
    const small = (data: DecodedFrame['data']) => ({ ...frame(data), reduce: 2 })
    expect(reds(drawGrey(small(Uint16Array.from([0, 4095, 4096, 4300])), transform))).toEqual([0, 255, 255, 255])
    const signed = { ...transform, image: { ...image, signed: true }, voi: { kind: 'window', window: { center: 0, width: 4096, function: 'LINEAR' } } as const }
    expect(reds(drawGrey(small(Int16Array.from([-2100, -2048, 2047, 2100])), signed))).toEqual([0, 0, 255, 255])
    // A sign that does not fill the word is still one.
    expect(reds(drawGrey(small(Int16Array.from([0x0fff])), signed))).toEqual(reds(drawGrey(frame(Int16Array.from([-1])), signed)))
    expect(valueRange(small(Uint16Array.from([5, 4100])), attributesOf(IMAGE), image)).toEqual([5, 4095])
  })
  it('go through VOI and modality tables', () => {
    const table = attributesOf({ ModalityLUTSequence: [{ LUTDescriptor: [3, 0, 16], LUTData: [10, 20, 30] }] })
    const lut = { kind: 'table', table: { first: 10, entries: Uint16Array.from({ length: 21 }, (_, i) => i * 200), bits: 12 } } as const
    const transform = { image, modality: modalityTransform(table), voi: lut, inverse: false }
    expect(greyOf(transform, 1)).toBe(Math.floor((2000 / 4095) * 255 + 0.5))
    expect(greyOf(transform, 99)).toBe(Math.floor((4000 / 4095) * 255 + 0.5))
  })
  it('are turned round by PhotometricInterpretation alone, as the server does', () => {
    for (const shape of ['IDENTITY', 'INVERSE']) {
      const contradicting = attributesOf({ ...IMAGE, PresentationLUTShape: shape })
      expect(isInverse(describeImage(contradicting), false)).toBe(false)
      expect(isInverse({ ...describeImage(contradicting), photometric: 'MONOCHROME1' }, false)).toBe(true)
      expect(isInverse({ ...describeImage(contradicting), photometric: 'MONOCHROME1' }, true)).toBe(false)
    }
  })
  it('span 8 bits, or the values of the frame without its padding', () => {
    const eight = attributesOf({ ...IMAGE, BitsAllocated: 8, BitsStored: 8 })
    expect(fallbackWindow(frame(Uint8Array.from([3, 4])), eight, describeImage(eight))).toMatchObject({ center: 127.5, width: 255 })
    const padded = attributesOf({ ...IMAGE, PixelPaddingValue: 0 })
    expect(valueRange(frame(Uint16Array.from([0, 5, 9, 0])), padded, describeImage(padded))).toEqual([5, 9])
  })
})

describe('colours', () => {
  const image = describeImage(attributesOf({ ...IMAGE, BitsAllocated: 8, BitsStored: 8, SamplesPerPixel: 3, PhotometricInterpretation: 'RGB' }))
  const bytes = (pixels: Uint32Array) => [...new Uint8Array(pixels.buffer)]
  it('of RGB stay as they are', () => {
    expect(bytes(drawColour(frame(Uint8Array.from([1, 2, 3]), 3), image, attributesOf({}), 'RGB', false))).toEqual([1, 2, 3, 255])
    expect(bytes(drawColour(frame(Uint8Array.from([1, 2, 3]), 3), image, attributesOf({}), 'RGB', true))).toEqual([254, 253, 252, 255])
  })
  it('of YBR_FULL are converted', () => {
    expect(bytes(drawColour(frame(Uint8Array.from([76, 85, 255]), 3), image, attributesOf({}), 'YBR_FULL', false))).toEqual([254, 0, 0, 255])
  })
  it('of a palette are looked up, and what is unknown is refused', () => {
    const table = (colour: string, values: number[]) => ({ [`${colour}PaletteColorLookupTableDescriptor`]: [2, 0, 16], [`${colour}PaletteColorLookupTableData`]: values })
    const attributes = attributesOf({ ...table('Red', [0, 0xff00]), ...table('Green', [0x1000, 0]), ...table('Blue', [0, 0x8000]) })
    expect(bytes(drawColour(frame(Uint8Array.from([0, 9])), image, attributes, 'PALETTE COLOR', false))).toEqual([0, 16, 0, 255, 255, 0, 128, 255])
    expect(() => drawColour(frame(Uint8Array.from([0])), image, attributesOf({}), 'PALETTE COLOR', false)).toThrow(/palette/)
    expect(() => drawColour(frame(Uint8Array.from([0, 0, 0]), 3), image, attributesOf({}), 'CMYK', false)).toThrow(/CMYK/)
  })
})

describe('overlay planes', () => {
  const plane = { '60000010': '2', '60000011': 3, '60000040': 'G', '60000050': [1, 2], '60003000': btoa(String.fromCharCode(0b010001)) }
  const drawn = (item: object, frame = 0) => {
    const pixels = new Uint32Array(8)
    drawOverlays(pixels, 4, 2, attributesOf({ ...item }), frame)
    return [...pixels].map((one) => (one ? 1 : 0))
  }
  it('are drawn at their origin, cut at the edge of the image', () => {
    expect(drawn(plane)).toEqual([0, 1, 0, 0, 0, 0, 1, 0])
    expect(drawn({ ...plane, '60000050': [0, 3] })).toEqual([0, 0, 0, 1, 0, 0, 0, 0])
  })
  it('that are regions of interest, too short, or of another frame are not', () => {
    const nothing = [0, 0, 0, 0, 0, 0, 0, 0]
    expect(drawn({ ...plane, '60000040': 'R' })).toEqual(nothing)
    expect(drawn({ ...plane, '60000010': '9' })).toEqual(nothing)
    expect(drawn({ ...plane, '60000015': '1', '60000051': 2 })).toEqual(nothing)
    expect(drawn({ ...plane, '60000015': '1', '60000051': 2 }, 1)).toEqual([0, 1, 0, 0, 0, 0, 1, 0])
  })
})

describe('native frames', () => {
  const image = (extra: object) => describeImage(attributesOf({ ...IMAGE, ...extra }))
  it('are typed by their attributes, also unaligned', () => {
    const bytes = new Uint8Array([9, 0xff, 0xff, 2, 0, 3, 0, 4, 0]).subarray(1)
    expect([...nativeFrame(bytes, image({ PixelRepresentation: 1 }), false).data]).toEqual([-1, 2, 3, 4])
    expect(() => nativeFrame(bytes.subarray(2), image({}), false)).toThrow(/6 bytes/)
  })
  it('of single bits are unpacked', () => {
    expect([...nativeFrame(new Uint8Array([0b1010]), image({ BitsAllocated: 1, BitsStored: 1 }), false).data]).toEqual([0, 1, 0, 1])
  })
  it('of planes are interleaved, and subsampled chrominance is expanded', () => {
    const colour = { BitsAllocated: 8, BitsStored: 8, SamplesPerPixel: 3, Columns: 2 }
    expect([...nativeFrame(new Uint8Array([1, 2, 3, 4, 5, 6]), image({ ...colour, PlanarConfiguration: 1 }), false).data]).toEqual([1, 3, 5, 2, 4, 6])
    expect([...nativeFrame(new Uint8Array([10, 20, 7, 8]), image(colour), true).data]).toEqual([10, 7, 8, 20, 7, 8])
  })
})

describe('codestreams', () => {
  it('are found in boxes', () => {
    const stream = new Uint8Array([0xff, 0x4f, 0xff, 0x51])
    expect(codestreamOf(stream)).toBe(stream)
    const boxed = new Uint8Array([0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 0, 0, 12, 0x6a, 0x70, 0x32, 0x63, ...stream])
    expect([...codestreamOf(boxed)]).toEqual([...stream])
    expect(() => codestreamOf(new Uint8Array([0, 0, 0, 8, 1, 2, 3, 4]))).toThrow(/no codestream/)
  })
  it('without a colour transform have their lines put in order', () => {
    // Two rows of one pixel with three samples, as the codec hands them out: R0 R1 G0 / G1 B0 B1.
    expect([...linesInOrder(new Uint8Array([1, 2, 3, 4, 5, 6]), 1, 2, 3, 1)]).toEqual([1, 3, 5, 2, 4, 6])
  })
  it('are checked by the CRC-32 of zlib', () => {
    const bytes = Uint8Array.from({ length: 1003 }, (_, i) => (i * 77) & 255)
    for (const length of [0, 1, 7, 8, 9, 1003]) expect(crc32(bytes.subarray(0, length))).toBe(zlibCrc32(bytes.subarray(0, length)))
  })
})

function packed(...records: [object, number[]][]): Uint8Array {
  const out: number[] = [...new TextEncoder().encode('LWFRAMES')]
  for (const [record, body] of records) {
    const json = new TextEncoder().encode(JSON.stringify(record))
    const head = new DataView(new ArrayBuffer(12))
    head.setUint32(0, json.length, true)
    head.setBigUint64(4, BigInt(body.length), true)
    out.push(...new Uint8Array(head.buffer), ...json, ...body)
  }
  return Uint8Array.from(out)
}

describe('packed frames', () => {
  const all = packed([{ kind: 'head', format: 1, level: 0, frames: 1 }, []], [{ kind: 'frame', id: 'ü' }, [1, 2, 3]], [{ kind: 'end', frames: 1 }, []])
  it('are read however they are cut', () => {
    for (const size of [1, 3, 17, 1000]) {
      const reader = new PackedReader()
      const records = []
      for (let i = 0; i < all.length; i += size) records.push(...reader.push(all.subarray(i, i + size)))
      expect(records.map(({ record }) => record.kind)).toEqual(['head', 'frame', 'end'])
      expect([...records[1]!.body]).toEqual([1, 2, 3])
      expect(() => reader.finish()).not.toThrow()
    }
  })
  it('say that they were cut off, or are something else', () => {
    const reader = new PackedReader()
    reader.push(all.subarray(0, all.length - 5))
    expect(() => reader.finish()).toThrow(/cut off/)
    expect(() => new PackedReader().push(new TextEncoder().encode('<!doctype html>'))).toThrow(/not packed/)
    expect(() => new PackedReader().push(packed([{ kind: 'head', format: 2 }, []]))).toThrow(/format 2/)
  })
})

describe('the order of fetching', () => {
  it('goes outwards, ahead first', () => {
    expect(outwards(7, 2)).toEqual([2, 3, 4, 1, 5, 6, 0])
    expect(outwards(5, 2, -1)).toEqual([2, 1, 0, 3, 4])
    expect(outwards(0, 0)).toEqual([])
    expect([...outwards(50, 49)].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i))
  })
})

describe('the cache of frames', () => {
  it('forgets closed stacks first, then the farthest frames, never the one shown', () => {
    const cache = new FrameCache(40)
    const owner = { set: {}, distance: (index: number) => Math.abs(index - 5) }
    const closed = { set: {}, distance: () => Infinity }
    const ten = () => frame(new Uint8Array(10))
    cache.put(closed, 0, ten())
    for (const index of [5, 1, 4]) cache.put(owner, index, ten())
    expect(cache.held).toBe(40)
    cache.put(owner, 6, ten())
    expect(cache.get(closed, 0)).toBeUndefined()
    expect(cache.get(owner, 1)).toBeUndefined()
    expect(cache.get(owner, 5)).toBeDefined()
    expect(cache.held).toBeLessThanOrEqual(36)
  })

  it('hands on what a closed stack of the same set has left, and nothing of an open one', () => {
    const cache = new FrameCache(100)
    const [set, ten] = [{}, frame(new Uint8Array(10))]
    const [closed, open, next] = [{ set, distance: () => Infinity }, { set, distance: () => 1 }, { set, distance: () => 0 }]
    cache.put(closed, 3, ten)
    cache.put(open, 4, ten)
    cache.adopt(next)
    expect([cache.get(next, 3), cache.get(closed, 3), cache.get(next, 4), cache.get(open, 4)]).toEqual([ten, undefined, undefined, ten])
    expect(cache.held).toBe(20)
  })
})

describe('samples that may not be in the lowest bits', () => {
  const words = (values: number[]) => new Uint8Array(Uint16Array.from(values).buffer)
  it('are refused where they have more bits than are stored', () => {
    const shifted = describeImage(attributesOf({ ...IMAGE, HighBit: 15 }))
    expect(() => nativeFrame(words([0x10, 0x7ff0, 0, 0]), shifted, false)).toThrow(/HighBit is 15/)
    expect([...nativeFrame(words([1, 4095, 0, 0]), shifted, false).data]).toEqual([1, 4095, 0, 0])
  })
  it('are not those with a sign, or with overlays above an ordinary HighBit', () => {
    const signed = describeImage(attributesOf({ ...IMAGE, HighBit: 15, PixelRepresentation: 1 }))
    expect([...nativeFrame(words([0xffff, 0xf800, 5, 0]), signed, false).data]).toEqual([-1, -2048, 5, 0])
    const overlaid = describeImage(attributesOf({ ...IMAGE, HighBit: 11 }))
    expect(nativeFrame(words([0x8001, 0, 0, 0]), overlaid, false).data[0]).toBe(0x8001)
  })
})

it('a Modality LUT that cannot be read is no identity', () => {
  expect(() => modalityTransform(attributesOf({ ModalityLUTSequence: [{ LUTDescriptor: [4, 0, 16], LUTData: [1] }] }))).toThrow(/Modality LUT/)
})

describe('frames that the browser decodes itself', () => {
  const of = (item: object, storedSyntax = '1.2.840.10008.1.2.4.202') =>
    isDecodedHere({ storedSyntax, attributes: attributesOf({ Rows: 1, Columns: 1, PixelRepresentation: 0, ...item }) } as Instance)
  it('are HTJ2K of words, or of bytes without a sign, which the codec would cut off', () => {
    expect(of({ BitsAllocated: 16, PixelRepresentation: 1 })).toBe(true)
    expect(of({ BitsAllocated: 8 })).toBe(true)
    expect(of({ BitsAllocated: 8, PixelRepresentation: 1 })).toBe(false)
    expect(of({ BitsAllocated: 32 })).toBe(false)
    expect(of({ BitsAllocated: 16 }, '1.2.840.10008.1.2.4.50')).toBe(false)
  })
})
