import { describe, expect, it, vi } from 'vitest'
import { displaySetsOf } from '../model/displaySets'
import { seriesOf } from '../model/document'
import type { FramesWanted, ImageSource } from '../source'
import type { DecodedBytes, Decoders, Decoding } from './decoders'
import { FrameCache } from './frameCache'
import type { Packed } from './packed'
import { StackFrames } from './stackFrames'

const HTJ2K = '1.2.840.10008.1.2.4.202'

function stack(count: number, source: Partial<ImageSource>, decode?: (decoding: Decoding) => Promise<DecodedBytes>, syntax = HTJ2K, photometric = 'MONOCHROME2') {
  const attributes = { Rows: 2, Columns: 2, BitsAllocated: 8, BitsStored: 8, PixelRepresentation: 0, PhotometricInterpretation: photometric }
  const instances = Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`i${i}`, { DICOM: { ...attributes, InstanceNumber: `${i + 1}` }, StoredTransferSyntaxUID: syntax, ImageFrames: [{ ID: `f${i}` }] }])
  )
  const document = { DatastoreID: 'd', ImageSetID: 's', Study: { Series: { x: { Instances: instances } } } }
  const [set] = displaySetsOf(seriesOf(document, { datastoreId: 'd', imageSetId: 's' })[0]!)
  const decoders = { decode: decode ?? (async ({ bytes }: Decoding) => ({ width: 2, height: 2, data: new Uint8Array(4).fill(bytes[0]!) })) } as Decoders
  const changed: number[] = []
  const frames = new StackFrames(set!, source as ImageSource, decoders, new FrameCache(1e6), (index) => changed.push(index))
  return { frames, changed }
}

function answering(log: FramesWanted[], gate?: Promise<void>): Pick<ImageSource, 'frames'> {
  return {
    async *frames(_origin, wanted, signal): AsyncIterable<Packed> {
      log.push(wanted)
      await gate
      signal.throwIfAborted()
      for (const id of wanted.ids ?? []) {
        const number = Number(id.slice(1))
        const level = wanted.level === undefined ? 'full' : wanted.level
        const record = { kind: 'frame', position: number + 1, id, syntax: HTJ2K, level, width: 2, height: 2, reduce: 0 } as const
        yield { record, body: new Uint8Array([number]) }
      }
    }
  }
}

const settled = async (): Promise<void> => {
  for (let i = 0; i < 60; i++) await new Promise((resolve) => setTimeout(resolve))
}

describe('the frames of a stack', () => {
  it('come as the one that is shown and all small pictures first, then whole ones outwards', async () => {
    const log: FramesWanted[] = []
    const { frames } = stack(6, answering(log))
    frames.open(2)
    await settled()
    expect(log[0]).toEqual({ ids: ['f2'] })
    expect(log[1]).toEqual({ ids: ['f2', 'f3', 'f4', 'f1', 'f5', 'f0'], level: 0 })
    expect(log.slice(2).flatMap(({ ids }) => ids ?? [])).toEqual(['f3', 'f4', 'f1', 'f5', 'f0'])
    for (let i = 0; i < 6; i++) {
      const state = frames.state(i)
      expect(state.kind === 'full' && state.frame.data[0]).toBe(i)
    }
  })

  it('are not fetched twice, and the frame of an earlier position is given up', async () => {
    const log: FramesWanted[] = []
    const aborted: boolean[] = []
    const source: Pick<ImageSource, 'frames'> = {
      async *frames(_origin, wanted, signal) {
        log.push(wanted)
        await new Promise((_, reject) => signal.addEventListener('abort', () => { aborted.push(true); reject(signal.reason) }))
        yield undefined as never
      }
    }
    const { frames } = stack(2, source)
    frames.open(0)
    frames.focus(1)
    frames.focus(1)
    await settled()
    expect(aborted).toEqual([true])
    expect(frames.state(0).kind).toBe('loading')
    frames.close()
  })

  it('that the reader comes back to while they are being given up are asked for again', async () => {
    const log: FramesWanted[] = []
    const source: Pick<ImageSource, 'frames'> = {
      async *frames(origin, wanted, signal) {
        // Small pictures never end, so that no whole frames are fetched ahead.
        if (wanted.level !== undefined) await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        // An answer that has begun takes a while to be given up.
        await new Promise((resolve) => setTimeout(resolve, 5))
        yield* answering(log).frames(origin, wanted, signal)
      }
    }
    const { frames } = stack(3, source)
    frames.open(0)
    frames.focus(1)
    frames.focus(0)
    await vi.waitFor(() => expect(frames.state(0).kind).toBe('full'), 30_000)
    frames.close()
  })

  it('that cannot be decoded are errors, and no other frame takes their place', async () => {
    const log: FramesWanted[] = []
    const decode = async ({ bytes }: Decoding) => {
      if (bytes[0] === 1) throw new Error('its checksum differs')
      return { width: 2, height: 2, data: new Uint8Array(4).fill(bytes[0]!) }
    }
    const { frames, changed } = stack(2, answering(log), decode)
    frames.open(1)
    await settled()
    expect(frames.state(1)).toEqual({ kind: 'error', message: 'The frame cannot be decoded: its checksum differs.' })
    expect(frames.state(0).kind).toBe('full')
    expect(changed).toContain(1)
  })

  it('that the server does not send, or says are damaged, are errors', async () => {
    const source: Pick<ImageSource, 'frames'> = {
      async *frames(_origin, { ids }) {
        if (ids?.includes('f0')) yield { record: { kind: 'error', position: 1, id: 'f0', type: 'X', message: 'It is damaged.' }, body: new Uint8Array() }
      }
    }
    const { frames } = stack(2, source)
    frames.open(0)
    await settled()
    expect(frames.state(0)).toEqual({ kind: 'error', message: 'It is damaged.' })
    expect(frames.state(1)).toMatchObject({ kind: 'error', message: 'The server did not send this frame.' })
  })

  it('of a request that failed are asked for again when the reader comes back, and nobody else sees an error', async () => {
    let isDown = true
    const log: FramesWanted[] = []
    const source: Pick<ImageSource, 'frames'> = {
      async *frames(origin, wanted, signal) {
        if (isDown) throw new Error('The server does not answer.')
        yield* answering(log).frames(origin, wanted, signal)
      }
    }
    const { frames } = stack(2, source)
    frames.open(0)
    await settled()
    expect(frames.state(0)).toEqual({ kind: 'error', message: 'The server does not answer' })
    expect(frames.state(1).kind).toBe('loading')
    isDown = false
    frames.focus(1)
    await settled()
    expect(frames.state(1).kind).toBe('full')
    frames.focus(0)
    await settled()
    expect(frames.state(0).kind).toBe('full')
    frames.close()
  })

  it('in other syntaxes are asked from the server decoded', async () => {
    const asked: number[] = []
    const source: Partial<ImageSource> = {
      async decodedFrame(instance) {
        asked.push(Number(instance.uid.slice(1)))
        return new Uint8Array([7, 7, 7, 7])
      }
    }
    const { frames } = stack(3, source, undefined, '1.2.840.10008.1.2.4.50')
    frames.open(1)
    await settled()
    expect(asked[0]).toBe(1)
    expect(asked.sort()).toEqual([0, 1, 2])
    expect(frames.state(2).kind).toBe('full')
  })
})

it('small pictures of places in a palette are not asked for', async () => {
  const log: FramesWanted[] = []
  const { frames } = stack(6, answering(log), undefined, HTJ2K, 'PALETTE COLOR')
  frames.open(2)
  await settled()
  expect(log.filter(({ level }) => level !== undefined)).toEqual([])
  expect(frames.progress()).toEqual({ full: 6, shown: 6, all: 6 })
})
