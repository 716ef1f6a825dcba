// One viewport with images: which is shown, how, and painting it. No markup here.

import { computed, signal } from '@preact/signals'
import type { Attributes } from '../model/attributes'
import { type Camera, type Matrix, RESTING, type Size, flipped, matrixOf, rotated, zoomOf, zoomedAt } from '../model/camera'
import type { Point } from '../model/camera'
import type { DisplaySet } from '../model/displaySets'
import type { Instance } from '../model/document'
import { frameAttributes } from '../model/frameAttributes'
import { type Vector, centreOf, planeOf } from '../model/geometry'
import { decodedPhotometric, type ImageDescription, isMonochrome } from '../model/image'
import { type Spacing, aspectOf, spacingOf } from '../model/spacing'
import { type Preset, type Voi, type Window, dragged, fileVois, modalityPresets, spanning } from '../model/windows'
import { drawColour } from '../pixels/colour'
import type { DecodedFrame } from '../pixels/frame'
import { drawOverlays } from '../pixels/overlayPlanes'
import { automaticWindow, drawGrey, fallbackWindow, isInverse, modalityTransform } from '../pixels/greyscale'
import { StackFrames } from '../pixels/stackFrames'
import type { ViewerState } from '../page/viewerState'
import { type CineRate, cineRate } from './cine'
import type { Measurement } from './measure'
import { dropDraft } from './measureDraft'
import { pixelValue } from './pixelValue'
import { rangeOfFrames } from './stackRange'

/** What is on the canvas at this moment: labels are made of it, never of what was asked for. */
export interface Shown {
  readonly index: number
  readonly quality: 'full' | 'preview' | 'loading' | 'error'
  readonly message: string
  readonly instance: Instance
  readonly frame: number
  readonly attributes: Attributes
  readonly image: ImageDescription
  /** The window that was applied; undefined for colour. */
  readonly voi: Voi | undefined
  readonly voiName: string
  readonly reduce: number
}

/** Which of the file's windows, a preset, or one that the reader made. */
type VoiChoice =
  | { readonly kind: 'file'; readonly number: number }
  | { readonly kind: 'preset'; readonly preset: Preset }
  | { readonly kind: 'own'; readonly voi: Voi; readonly name: string }

let nextMeasurement = 1

export class StackController {
  readonly index = signal(0)
  readonly camera = signal<Camera>(RESTING)
  readonly inverse = signal(false)
  readonly isSmooth = signal(true)
  readonly shown = signal<Shown | undefined>(undefined)
  readonly isPlaying = signal(false)
  readonly rate: CineRate
  readonly fps = signal(10)
  readonly selected = signal<number | undefined>(undefined)
  readonly size = signal<Size>({ width: 1, height: 1 })
  readonly loaded = signal({ full: 0, shown: 0, all: 0 })
  readonly choice = signal<VoiChoice>({ kind: 'file', number: 0 })

  readonly frames: StackFrames
  #canvas: HTMLCanvasElement | undefined
  #picture = document.createElement('canvas')
  #drawn: { frame: DecodedFrame; voi: Voi | undefined; inverse: boolean; index: number } | undefined
  #wanted = 0
  #cine = 0
  #count = 0
  #stackRange: { voi: Voi; name: string } | undefined
  readonly #rangeOfFrames = computed(() => rangeOfFrames(this.set.frames))

  constructor(
    readonly set: DisplaySet,
    private readonly viewer: ViewerState
  ) {
    this.frames = new StackFrames(set, viewer.source, viewer.decoders, viewer.cache, (index) => {
      if (index === this.index.value) this.repaint()
      this.#countLater()
    }, viewer.takeEarly(set))
    // Sections begin in the middle of the body, loops at their beginning.
    const [start] = set.frames
    const areSections = set.frames.length > 2 && planeOf(frameAttributes(start!.instance, start!.frame)) !== undefined
    this.index.value = viewer.lastSeen.get(set.id) ?? (areSections ? Math.floor((set.frames.length - 1) / 2) : 0)
    const { instance, frame } = set.frames[this.index.value]!
    this.rate = cineRate(frameAttributes(instance, frame))
    this.fps.value = this.rate.fps
    this.frames.open(this.index.value)
  }

  get length(): number {
    return this.set.frames.length
  }

  readonly attributes = computed(() => {
    const { instance, frame } = this.set.frames[this.index.value]!
    return frameAttributes(instance, frame)
  })
  readonly spacing = computed<Spacing>(() => spacingOf(this.attributes.value))
  readonly imageSize = computed<Size>(() => {
    const { columns, rows } = this.frames.describe(this.index.value)
    return { width: columns, height: rows }
  })
  readonly matrix = computed<Matrix>(() =>
    matrixOf(this.camera.value, this.imageSize.value, aspectOf(this.spacing.value), this.size.value, devicePixelRatio)
  )
  readonly zoom = computed(() => zoomOf(this.camera.value, this.imageSize.value, aspectOf(this.spacing.value), this.size.value))
  readonly plane = computed(() => planeOf(this.attributes.value))
  readonly isColour = computed(() => !isMonochrome(this.frames.describe(this.index.value).photometric))
  readonly presets = computed<{ file: readonly Preset[]; modality: readonly Preset[] }>(() => ({
    file: fileVois(this.attributes.value),
    modality: modalityPresets(this.attributes.value)
  }))

  attach(canvas: HTMLCanvasElement | undefined): void {
    this.#canvas = canvas
    this.repaint()
  }

  resize(size: Size): void {
    // Out of sight: what it shows stays as it is.
    if (size.width === 0 || size.height === 0) return
    this.size.value = size
    // At once: a canvas that was resized is empty until it is painted.
    this.paint()
  }

  close(): void {
    this.viewer.lastSeen.set(this.set.id, this.index.value)
    cancelAnimationFrame(this.#wanted)
    this.stop()
    clearTimeout(this.#count)
    this.frames.close()
    this.#canvas = undefined
  }

  go(index: number): void {
    const next = Math.min(this.length - 1, Math.max(0, Math.round(index)))
    if (next === this.index.value) return
    dropDraft(this)
    this.index.value = next
    this.frames.focus(next)
    this.repaint()
  }

  scroll(by: number): void {
    this.go(this.index.value + by)
  }

  /** The frame whose centre is nearest by a measure. */
  goNearest(distanceOf: (centre: Vector) => number): void {
    let [best, least] = [-1, Infinity]
    for (const [index, { instance, frame }] of this.set.frames.entries()) {
      const plane = planeOf(frameAttributes(instance, frame))
      if (!plane) continue
      const distance = distanceOf(centreOf(plane))
      if (distance < least) [best, least] = [index, distance]
    }
    if (best >= 0) this.go(best)
  }

  /** Whether the image is there and cannot be drawn, so that its values mean nothing. */
  get #isRefused(): boolean {
    const shown = this.shown.value
    return shown?.index !== this.index.value || shown.quality === 'error'
  }

  // Windows

  choose(preset: Preset, fileNumber?: number): void {
    this.choice.value = fileNumber === undefined ? { kind: 'preset', preset } : { kind: 'file', number: fileNumber }
    this.repaint()
  }

  automatic(): void {
    const state = this.frames.state(this.index.value)
    if (this.#isRefused || (state.kind !== 'full' && state.kind !== 'preview')) return
    const window = automaticWindow(state.frame, this.attributes.value, this.frames.describe(this.index.value))
    this.choice.value = { kind: 'own', voi: { kind: 'window', window }, name: 'Automatic' }
    this.repaint()
  }

  drag(dx: number, dy: number): void {
    if (this.isColour.value || this.#isRefused) return
    const { voi } = this.#voiOf(this.index.value)
    const window = voi.kind === 'window' ? voi.window : this.#rangeOfTable(voi)
    this.choice.value = { kind: 'own', voi: { kind: 'window', window: dragged(window, dx, dy) }, name: '' }
    this.repaint()
  }

  resetWindow(): void {
    this.choice.value = { kind: 'file', number: 0 }
    this.inverse.value = false
    this.repaint()
  }

  invert(): void {
    this.inverse.value = !this.inverse.value
    this.repaint()
  }

  /** What is applied to an image: the reader's choice, else what its file says, else the values of the stack. */
  #voiOf(index: number): { voi: Voi; name: string } {
    const choice = this.choice.value
    if (choice.kind === 'preset') return { voi: choice.preset.voi, name: choice.preset.name }
    if (choice.kind === 'own') return { voi: choice.voi, name: choice.name }
    const { instance, frame } = this.set.frames[index]!
    const all = fileVois(frameAttributes(instance, frame))
    const found = all[choice.number] ?? all[0]
    if (found) return found
    return this.#fallback(index)
  }

  /** The values of all frames; where they are not known those of the first image that came whole, and the name says so. */
  #fallback(index: number): { voi: Voi; name: string } {
    const state = this.frames.state(index)
    if (this.#rangeOfFrames.value) {
      this.#stackRange ??= { voi: { kind: 'window', window: spanning(...this.#rangeOfFrames.value) }, name: 'Full range' }
    } else if (!this.#stackRange && state.kind === 'full') {
      const { instance, frame } = this.set.frames[index]!
      const window = fallbackWindow(state.frame, frameAttributes(instance, frame), this.frames.describe(index))
      this.#stackRange = { voi: { kind: 'window', window }, name: this.length === 1 ? 'Full range' : `Range of image ${index + 1}` }
    }
    return this.#stackRange ?? { voi: { kind: 'window', window: spanning(0, 255) }, name: '' }
  }

  #rangeOfTable(voi: Voi): Window {
    if (voi.kind === 'window') return voi.window
    return spanning(voi.table.first, voi.table.first + voi.table.entries.length - 1)
  }

  // Place

  fit(): void {
    this.#look({ ...this.camera.value, zoom: undefined, panX: 0, panY: 0 })
  }

  /** One pixel of the image for one of the screen. */
  oneToOne(): void {
    this.#look({ ...this.camera.value, zoom: 1 / devicePixelRatio, panX: 0, panY: 0 })
  }

  zoomBy(factor: number, at?: Point): void {
    const { width, height } = this.size.value
    const point = at ?? { x: width / 2, y: height / 2 }
    this.#look(zoomedAt(this.camera.value, factor, point, this.imageSize.value, aspectOf(this.spacing.value), this.size.value))
  }

  pan(dx: number, dy: number): void {
    const camera = this.camera.value
    this.#look({ ...camera, panX: camera.panX + dx, panY: camera.panY + dy })
  }

  rotate(degrees: number): void {
    this.#look(rotated(this.camera.value, degrees))
  }

  flip(axis: 'x' | 'y'): void {
    this.#look(flipped(this.camera.value, axis))
  }

  reset(): void {
    this.camera.value = RESTING
    this.resetWindow()
  }

  #look(camera: Camera): void {
    this.camera.value = camera
    this.repaint()
  }

  // Cine

  play(): void {
    if (this.length < 2 || this.isPlaying.value) return
    this.isPlaying.value = true
    let last = performance.now()
    const step = (now: number): void => {
      if (!this.isPlaying.value) return
      this.#cine = requestAnimationFrame(step)
      const pause = 1000 / this.fps.value
      if (now - last < pause) return
      const next = (this.index.value + 1) % this.length
      const { kind } = this.frames.state(next)
      // A loop waits for frames that are on their way.
      if (kind === 'loading') {
        this.frames.focus(next)
        return
      }
      last = now - last > 2 * pause ? now : last + pause
      this.go(next)
    }
    this.#cine = requestAnimationFrame(step)
  }

  stop(): void {
    this.isPlaying.value = false
    cancelAnimationFrame(this.#cine)
  }

  // Measuring

  frameId(index = this.index.value): string {
    const { instance, frame } = this.set.frames[index]!
    return instance.frames[frame]!.ID
  }

  add(kind: Measurement['kind'], points: readonly Point[]): void {
    const id = nextMeasurement++
    this.#change((own) => [...own, { id, kind, points }])
    this.selected.value = id
  }

  move(id: number, point: number, to: Point): void {
    this.#change((own) => own.map((one) => (one.id === id ? { ...one, points: one.points.map((p, i) => (i === point ? to : p)) } : one)))
  }

  remove(id: number | undefined): void {
    if (id !== undefined) this.#change((own) => own.filter((one) => one.id !== id))
    this.selected.value = undefined
  }

  measurementsOf(index: number): readonly Measurement[] {
    return this.viewer.measurements.value.get(`${this.set.id}/${this.frameId(index)}`) ?? []
  }

  #change(by: (own: readonly Measurement[]) => readonly Measurement[]): void {
    const { measurements } = this.viewer
    measurements.value = new Map(measurements.value).set(`${this.set.id}/${this.frameId()}`, by(this.measurementsOf(this.index.value)))
  }

  /** What `pixelValue` says of the image on the canvas; empty while that is not whole. */
  valueAt(point: Point): string {
    const state = this.frames.state(this.index.value)
    const shown = this.shown.value
    if (state.kind !== 'full' || shown?.quality !== 'full' || shown.index !== this.index.value) return ''
    return pixelValue(state.frame, point, shown.attributes, shown.image)
  }

  // Painting

  repaint(): void {
    if (this.#wanted) return
    this.#wanted = requestAnimationFrame(() => {
      this.#wanted = 0
      this.paint()
    })
  }

  /** Picture and `shown` change together. Whatever cannot be drawn leaves the canvas empty. */
  paint(): void {
    const canvas = this.#canvas
    const context = canvas?.getContext('2d', { alpha: false })
    if (!canvas || !context) return
    const index = this.index.value
    const { instance, frame } = this.set.frames[index]!
    const attributes = frameAttributes(instance, frame)
    const image = this.frames.describe(index)
    const state = this.frames.state(index)
    const about = { index, instance, frame, attributes, image }
    const { width, height } = this.size.value
    const ratio = devicePixelRatio
    const [pixelWidth, pixelHeight] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))]
    if (canvas.width !== pixelWidth || canvas.height !== pixelHeight) [canvas.width, canvas.height] = [pixelWidth, pixelHeight]
    context.setTransform(1, 0, 0, 1, 0, 0)
    context.fillStyle = '#000'
    context.fillRect(0, 0, pixelWidth, pixelHeight)
    const nothing = { voi: undefined, voiName: '', reduce: 0 }
    if (state.kind === 'error' || state.kind === 'loading') {
      const message = state.kind === 'error' ? state.message : ''
      this.shown.value = { ...about, ...nothing, quality: state.kind, message }
      return
    }
    const isColour = !isMonochrome(image.photometric)
    let [voi, name]: [Voi | undefined, string] = [undefined, '']
    try {
      if (!isColour) ({ voi, name } = this.#voiOf(index))
      this.#draw(index, state.frame, image, attributes, instance.storedSyntax, voi)
    } catch (error) {
      const message = error instanceof Error ? error.message : 'The frame cannot be shown.'
      this.shown.value = { ...about, ...nothing, quality: 'error', message }
      return
    }
    const { a, b, c, d, e, f } = this.matrix.value
    context.setTransform(a * ratio, b * ratio, c * ratio, d * ratio, e * ratio, f * ratio)
    context.imageSmoothingEnabled = this.isSmooth.value
    // Shrunk pictures are filtered, magnified ones interpolated between neighbours: more would invent detail, slowly.
    context.imageSmoothingQuality = this.zoom.value * ratio < 1 ? 'high' : 'low'
    const picture = state.frame
    const step = 2 ** picture.reduce
    // A sample of a small picture lies where the first of the pixels lies that it stands for.
    const shift = picture.reduce > 0 ? (1 - step) / 2 : 0
    context.save()
    context.beginPath()
    context.rect(0, 0, image.columns, image.rows)
    context.clip()
    context.drawImage(this.#picture, shift, shift, picture.width * step, picture.height * step)
    context.restore()
    if (state.kind === 'full') this.viewer.thumbnails.open()
    this.shown.value = { ...about, quality: state.kind, message: '', voi, voiName: name, reduce: picture.reduce }
  }

  #draw(index: number, frame: DecodedFrame, image: ImageDescription, attributes: Attributes, syntax: string, voi: Voi | undefined): void {
    const inverse = this.inverse.value
    const before = this.#drawn
    if (before?.frame === frame && before.voi === voi && before.inverse === inverse && before.index === index) return
    this.#drawn = undefined
    const pixels = voi
      ? drawGrey(frame, { image, modality: modalityTransform(attributes), voi, inverse: isInverse(image, inverse) })
      : drawColour(frame, image, attributes, decodedPhotometric(image, syntax), inverse)
    if (frame.reduce === 0) drawOverlays(pixels, frame.width, frame.height, attributes, this.set.frames[index]!.frame)
    const picture = this.#picture
    if (picture.width !== frame.width || picture.height !== frame.height) [picture.width, picture.height] = [frame.width, frame.height]
    const bytes = new Uint8ClampedArray(pixels.buffer as ArrayBuffer, pixels.byteOffset, pixels.byteLength)
    picture.getContext('2d')!.putImageData(new ImageData(bytes, frame.width, frame.height), 0, 0)
    this.#drawn = { frame, voi, inverse, index }
  }

  #countLater(): void {
    if (this.#count) return
    this.#count = window.setTimeout(() => {
      this.#count = 0
      this.loaded.value = this.frames.progress()
    }, 120)
  }
}
