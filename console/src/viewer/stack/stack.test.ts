import { describe, expect, it } from 'vitest'
import { attributesOf } from '../model/attributes'
import { RESTING, apply, fitZoom, flipped, invert, matrixOf, rotated, turnOf, zoomedAt } from '../model/camera'
import { cineRate } from './cine'
import { read } from './measure'
import { draft, dropDraft } from './measureDraft'
import { windowText } from './Overlay'
import type { Shown, StackController } from './stackController'

const image = { width: 100, height: 50 }
const viewport = { width: 400, height: 400 }

describe('the camera', () => {
  it('fits the image, also of oblong pixels and turned', () => {
    expect(fitZoom(image, 1, viewport, 0)).toBe(4)
    expect(fitZoom(image, 2, viewport, 0)).toBe(2)
    expect(fitZoom(image, 1, { width: 100, height: 400 }, 90)).toBe(2)
  })
  it('puts the middle of the image in the middle, whatever its turn', () => {
    let camera = RESTING
    for (const change of [() => camera, () => rotated(camera, 90), () => flipped(camera, 'x'), () => rotated(camera, 90), () => flipped(camera, 'y')]) {
      camera = change()
      expect(apply(matrixOf(camera, image, 1, viewport), { x: 50, y: 25 })).toEqual({ x: 200, y: 200 })
    }
  })
  it('turns clockwise on the screen, flipped or not', () => {
    expect(turnOf(rotated(RESTING, 90))).toEqual({ rightX: 0, rightY: 1, downX: -1, downY: 0 })
    const mirrored = rotated(flipped(RESTING, 'x'), 90)
    // The right of a mirrored image is at the left; clockwise from there is the top.
    expect(turnOf(mirrored)).toMatchObject({ rightX: 0, rightY: -1 })
  })
  it('zooms about a point, and inverts its own matrix', () => {
    const at = { x: 120, y: 310 }
    const before = invert(matrixOf(RESTING, image, 1, viewport), at)
    const camera = zoomedAt(RESTING, 3, at, image, 1, viewport)
    const after = invert(matrixOf(camera, image, 1, viewport), at)
    expect(after.x).toBeCloseTo(before.x, 0)
    expect(after.y).toBeCloseTo(before.y, 0)
  })
})

describe('measurements', () => {
  const mm = { row: 0.5, column: 0.25, unit: 'mm', note: '' } as const
  it('of length are in the unit of the image', () => {
    const length = { id: 1, kind: 'length', points: [{ x: 0, y: 0 }, { x: 16, y: 6 }] } as const
    expect(read(length, mm, [])).toEqual({ text: '5.0 mm', note: '' })
    expect(read(length, { row: 1, column: 1, unit: 'px', note: '' }, []).text).toBe('17.1 px')
    expect(read(length, { ...mm, note: 'at the detector, magnified' }, []).note).toBe('at the detector, magnified')
  })
  it('of angles are those in the patient, not those of oblong pixels', () => {
    const angle = { id: 1, kind: 'angle', points: [{ x: 8, y: 0 }, { x: 0, y: 0 }, { x: 8, y: 4 }] } as const
    expect(read(angle, mm, []).text).toBe('45.0°')
  })
})

describe('the rate of a loop', () => {
  it('is that of the file', () => {
    expect(cineRate(attributesOf({ RecommendedDisplayFrameRate: '15', CineRate: '30' }))).toEqual({ fps: 15, isFromFile: true })
    expect(cineRate(attributesOf({ FrameTime: '40 ' })).fps).toBe(25)
    expect(cineRate(attributesOf({ FrameTimeVector: ['0', '50', '150'] })).fps).toBe(10)
    expect(cineRate(attributesOf({ FrameTime: '0' }))).toEqual({ fps: 10, isFromFile: false })
  })
})

it('a measurement that is begun ends where its stack shows another image', () => {
  const [stack, other] = [{}, {}] as StackController[]
  draft.value = { stack: stack!, kind: 'length', points: [{ x: 1, y: 1 }] }
  dropDraft(other!)
  expect(draft.value).toBeDefined()
  dropDraft(stack!)
  expect(draft.value).toBeUndefined()
})

it('windows are written with as many digits as they need', () => {
  const text = (center: number, width: number) => windowText({ voi: { kind: 'window', window: { center, width, function: 'LINEAR' } }, voiName: '' } as Shown, false)
  expect(text(0.0021, 0.003)).toBe('W 0.003 L 0.0021')
  expect([text(40, 400), text(12.34, 56.78), text(1.234, 5)]).toEqual(['W 400 L 40', 'W 56.8 L 12.3', 'W 5 L 1.23'])
})
