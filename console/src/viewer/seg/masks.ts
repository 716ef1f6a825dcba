// Frames of segmentations as pictures in the colour of their segment, transparent elsewhere.

import type { Instance } from '../model/document'
import { describeImage } from '../model/image'
import type { DecodedFrame } from '../pixels/frame'
import { nativeFrame } from '../pixels/native'
import type { ImageSource } from '../source'
import type { Segment, SegmentFrame } from './segmentation'

const KEPT = 96

export type Mask = { readonly kind: 'ready'; readonly picture: HTMLCanvasElement } | { readonly kind: 'loading' } | { readonly kind: 'error'; readonly message: string }

export class Masks {
  readonly #known = new Map<string, Mask>()
  /** Frames on their way: a label map has many segments in one. */
  readonly #coming = new Map<string, Promise<DecodedFrame>>()
  readonly #abort = new AbortController()
  #kept = KEPT

  constructor(
    private readonly source: ImageSource,
    private readonly changed: () => void
  ) {}

  /** Says how many masks are on show: fewer than those cannot be kept, or they would be loaded in turn for ever. */
  show(count: number): void {
    this.#kept = Math.max(KEPT, count)
  }

  /** The mask of one segment in a frame; begins to load it the first time. */
  get(of: SegmentFrame, segment: Segment): Mask {
    const name = `${segment.id}/${of.frame}`
    const found = this.#known.get(name)
    if (found) {
      // The least recently wanted go first.
      this.#known.delete(name)
      this.#known.set(name, found)
      return found
    }
    const loading: Mask = { kind: 'loading' }
    this.#known.set(name, loading)
    void this.#load(name, of, segment)
    for (const old of this.#known.keys()) {
      if (this.#known.size <= this.#kept) break
      this.#known.delete(old)
    }
    return loading
  }

  close(): void {
    this.#abort.abort()
    this.#known.clear()
  }

  retry(): void {
    for (const [name, mask] of this.#known) if (mask.kind === 'error') this.#known.delete(name)
    this.changed()
  }

  #frame(instance: Instance, frame: number): Promise<DecodedFrame> {
    const name = `${instance.origin.imageSetId}/${instance.uid}/${frame}`
    let coming = this.#coming.get(name)
    if (!coming) {
      coming = this.#fetch(instance, frame).finally(() => this.#coming.delete(name))
      this.#coming.set(name, coming)
    }
    return coming
  }

  async #fetch(instance: Instance, frame: number): Promise<DecodedFrame> {
    const image = describeImage(instance.attributes)
    return nativeFrame(await this.source.decodedFrame(instance, frame, this.#abort.signal), image, false)
  }

  async #load(name: string, of: SegmentFrame, segment: Segment): Promise<void> {
    const { instance, fractionalMaximum, isLabelMap } = of.segmentation
    let mask: Mask
    try {
      const { data, width, height } = await this.#frame(instance, of.frame)
      const picture = document.createElement('canvas')
      picture.width = width
      picture.height = height
      const context = picture.getContext('2d')!
      const pixels = context.createImageData(width, height)
      for (let i = 0; i < data.length; i++) {
        const value = data[i]!
        const share = isLabelMap ? Number(value === segment.number) : fractionalMaximum === undefined ? Number(value !== 0) : value / fractionalMaximum
        pixels.data[i * 4 + 3] = Math.round(Math.min(1, share) * 255)
      }
      context.putImageData(pixels, 0, 0)
      context.globalCompositeOperation = 'source-in'
      context.fillStyle = segment.colour
      context.fillRect(0, 0, width, height)
      mask = { kind: 'ready', picture }
    } catch (error) {
      if (this.#abort.signal.aborted) return
      mask = { kind: 'error', message: error instanceof Error ? error.message : 'The frame cannot be shown.' }
    }
    if (this.#known.has(name)) {
      this.#known.set(name, mask)
      this.changed()
    }
  }
}
