// Frames of segmentations as pictures in the colour of their segment, transparent elsewhere.

import { describeImage } from '../model/image'
import { nativeFrame } from '../pixels/native'
import type { ImageSource } from '../source'
import type { Segment, SegmentFrame } from './segmentation'

const KEPT = 96

export type Mask = { readonly kind: 'ready'; readonly picture: HTMLCanvasElement } | { readonly kind: 'loading' } | { readonly kind: 'error'; readonly message: string }

export class Masks {
  readonly #known = new Map<string, Mask>()
  readonly #abort = new AbortController()

  constructor(
    private readonly source: ImageSource,
    private readonly changed: () => void
  ) {}

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
      if (this.#known.size <= KEPT) break
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

  async #load(name: string, of: SegmentFrame, segment: Segment): Promise<void> {
    const { instance, fractionalMaximum, isLabelMap } = of.segmentation
    let mask: Mask
    try {
      const image = describeImage(instance.attributes)
      const bytes = await this.source.decodedFrame(instance, of.frame, this.#abort.signal)
      const { data, width, height } = nativeFrame(bytes, image, false)
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
