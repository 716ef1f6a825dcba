// What the viewer shows: the study, the grid of viewports and what is in each, the tool in the hand.

import { computed, signal } from '@preact/signals'
import { type DisplaySet, displaySetsOf } from '../model/displaySets'
import { type Origin, type Series, seriesOf } from '../model/document'
import { type Decoders, startDecoders } from '../pixels/decoders'
import { EarlyFrames } from '../pixels/earlyFrames'
import { FrameCache, cacheLimit } from '../pixels/frameCache'
import { type ImageSource, MOST_SETS } from '../source'
import { Gate } from './gate'
import { joined } from './seriesOrder'
import type { Point } from '../model/camera'
import { type Vector, centreOf, dot, subtract } from '../model/geometry'
import type { Measurement } from '../stack/measure'
import type { StackController } from '../stack/stackController'
import { openOhif } from '../../session/ohif'

export type Tool = 'window' | 'scroll' | 'pan' | 'zoom' | 'length' | 'angle'

export interface Layout {
  readonly rows: number
  readonly columns: number
}

export const LAYOUTS: readonly Layout[] = [
  { rows: 1, columns: 1 },
  { rows: 1, columns: 2 },
  { rows: 2, columns: 2 }
]

const AT_ONCE = 4
// Segmentation Storage and Label Map Segmentation Storage (PS3.4 B.5).
const SEGMENTATIONS: ReadonlySet<string> = new Set(['1.2.840.10008.5.1.4.1.1.66.4', '1.2.840.10008.5.1.4.1.1.66.7'])

let sharedDecoders: Decoders | undefined

/** Starts the decoders, so that the first study does not wait for them. */
export function decoders(): Decoders {
  return (sharedDecoders ??= startDecoders())
}

export class ViewerState {
  readonly series = signal<readonly Series[]>([])
  readonly error = signal<unknown>(undefined)
  /** Why other image sets of the study are missing. */
  readonly restError = signal<unknown>(undefined)
  readonly isLoadingRest = signal(false)
  /** Whether the study may have more image sets than are listed. */
  readonly isRestCut = signal(false)
  readonly layout = signal<Layout>(LAYOUTS[0]!)
  readonly cells = signal<readonly (DisplaySet | undefined)[]>([undefined])
  readonly active = signal(0)
  /** Whether the active viewport has all the room; the others go on as they are, out of sight. */
  readonly isSingle = signal(false)
  readonly tool = signal<Tool>(matchMedia('(pointer: coarse)').matches ? 'scroll' : 'window')
  readonly isLinked = signal(false)
  readonly hasReferenceLines = signal(true)
  readonly hasText = signal(true)
  /** The controllers of the viewports that hold images. */
  readonly stacks = signal<readonly (StackController | undefined)[]>([])
  /** Where the mouse is, in the viewport: the image may be scrolled or turned below it. */
  readonly pointer = signal<{ readonly stack: StackController; readonly at: Point } | undefined>(undefined)
  /** By display set: the image that a viewport showed when it was given something else. */
  readonly lastSeen = new Map<string, number>()
  /** Where the planes through a volume cross at first: in the middle of the image that was looked at. */
  planesBegin: Vector | undefined
  readonly isTouch = matchMedia('(pointer: coarse)').matches
  /** Those that the reader has made, by display set and frame: they outlive the viewport that shows it. */
  readonly measurements = signal<ReadonlyMap<string, readonly Measurement[]>>(new Map())
  readonly nonPrimary = signal<ReadonlySet<string>>(new Set())

  readonly sets = computed<readonly DisplaySet[]>(() =>
    this.series.value.flatMap((one) => {
      let made = this.#setsOf.get(one)
      if (!made) this.#setsOf.set(one, (made = displaySetsOf(one)))
      return made
    })
  )
  readonly hasSegmentations = computed(() => this.sets.value.some(({ sopClass }) => SEGMENTATIONS.has(sopClass)))
  readonly activeSet = computed(() => this.cells.value[this.active.value])
  readonly visibleCells = computed(() => (this.isSingle.value ? [this.activeSet.value] : this.cells.value))
  readonly activeStack = computed(() => this.stacks.value[this.active.value])

  readonly decoders = decoders()
  /** Thumbnails wait for the first image. */
  readonly thumbnails = new Gate(2)
  readonly cache = new FrameCache(cacheLimit())
  #early: EarlyFrames | undefined
  /** The image that a stack begins with which is not there yet. */
  #beginAt: { set: DisplaySet; index: number } | undefined
  readonly #setsOf = new WeakMap<Series, DisplaySet[]>()
  readonly #abort = new AbortController()

  constructor(
    readonly source: ImageSource,
    readonly origin: Origin
  ) {}

  async load(): Promise<void> {
    this.error.value = undefined
    setTimeout(() => this.thumbnails.open(), 1500)
    const { signal } = this.#abort
    this.#early = new EarlyFrames(this.source.frames(this.origin, { level: 0 }, signal))
    try {
      const document = await this.source.document(this.origin, signal)
      if (signal.aborted) return
      this.series.value = seriesOf(document, this.origin)
      const first = this.sets.value.find((set) => set.frames.length > 0) ?? this.sets.value[0]
      if (first) this.place(0, first)
    } catch (error) {
      if (!signal.aborted) this.error.value = error
      return
    }
    await this.#loadRest(signal)
  }

  /** The small pictures that were asked for together with the metadata, for the first images that are shown. */
  takeEarly(set: DisplaySet): EarlyFrames | undefined {
    const early = set.series.origin === this.origin ? this.#early : undefined
    if (early) this.#early = undefined
    return early
  }

  /** The other image sets of the study: the primary ones. */
  async #loadRest(signal: AbortSignal): Promise<void> {
    const studyUid = this.series.value[0]?.instances[0]?.studyUid
    if (!studyUid) return
    this.isLoadingRest.value = true
    try {
      const found = await this.source.imageSetsOfStudy(this.origin.datastoreId, studyUid, signal)
      this.isRestCut.value = found.length >= MOST_SETS
      this.nonPrimary.value = new Set(found.filter((set) => !set.isPrimary).map((set) => set.imageSetId))
      const rest = found.filter((set) => set.isPrimary && !this.series.value.some((one) => one.origin.imageSetId === set.imageSetId))
      const waiting = [...rest]
      const take = async (): Promise<void> => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
          const origin = { datastoreId: this.origin.datastoreId, imageSetId: next.imageSetId }
          const document = await this.source.document(origin, signal)
          if (signal.aborted) return
          this.series.value = joined(this.series.value, seriesOf(document, origin))
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, take))
      this.restError.value = undefined
    } catch (error) {
      if (!signal.aborted) this.restError.value = error
    } finally {
      this.isLoadingRest.value = false
    }
  }

  reloadRest(): void {
    void this.#loadRest(this.#abort.signal)
  }

  /** `index` is of the image to begin with, where one is meant. */
  place(cell: number, set: DisplaySet, index?: number): void {
    const there = this.stacks.value[cell]
    this.#beginAt = index === undefined || there?.set === set ? undefined : { set, index }
    if (index !== undefined && there?.set === set) there.go(index)
    const cells = [...this.cells.value]
    cells[cell] = set
    this.cells.value = cells
    this.active.value = cell
  }

  /** The slices of the active viewport as planes through their volume, or the slices again. */
  togglePlanes(): void {
    const set = this.activeSet.value
    if (set === undefined) return
    const back = this.sets.value.find(({ id }) => `${id}/planes` === set.id)
    const plane = this.activeStack.value?.plane.value
    this.planesBegin = plane && centreOf(plane)
    this.place(this.active.value, back ?? { ...set, id: `${set.id}/planes`, kind: 'volume' })
  }

  setLayout(layout: Layout): void {
    const count = layout.rows * layout.columns
    const cells = Array.from({ length: count }, (_, i) => this.cells.value[i])
    if (this.active.value >= count || count === 1) cells[0] = this.activeSet.value
    const shown = new Set(cells)
    const rest = this.sets.value.filter((set) => !shown.has(set) && set.frames.length > 0)
    for (const [i, set] of cells.entries()) if (!set) cells[i] = rest.shift()
    this.isSingle.value = false
    this.layout.value = layout
    this.active.value = this.active.value >= count ? 0 : this.active.value
    this.cells.value = cells
  }

  /** The next or previous series in the active viewport. */
  step(by: 1 | -1): void {
    const sets = this.sets.value
    if (sets.length === 0) return
    const at = this.activeSet.value ? sets.indexOf(this.activeSet.value) : -1
    const next = sets[Math.min(sets.length - 1, Math.max(0, at + by))]
    if (next) this.place(this.active.value, next)
  }

  /** Scrolls a stack and, if they are linked, those that are parallel to it. */
  scroll(stack: StackController, by: number): void {
    stack.stop()
    stack.scroll(by)
    if (!this.isLinked.value) return
    const plane = stack.plane.value
    for (const other of this.stacks.value) {
      if (!other || other === stack) continue
      const theirs = other.plane.value
      // Positions without a frame of reference cannot be compared.
      if (!plane?.frameOfReference || !theirs?.frameOfReference) other.scroll(by)
      else if (plane.frameOfReference === theirs.frameOfReference && Math.abs(dot(plane.normal, theirs.normal)) > 0.98) {
        // Planes may be tilted a little against each other: their corners would be farther apart than they are.
        const centre = centreOf(plane)
        other.goNearest((theirCentre) => Math.abs(dot(subtract(theirCentre, centre), plane.normal)))
      }
    }
  }

  /** The active viewport alone, or all of them again. */
  toggleSingle(): void {
    const { rows, columns } = this.layout.value
    this.isSingle.value = !this.isSingle.value && rows * columns > 1
    if (!this.isSingle.value) return
    for (const stack of this.stacks.value) if (stack !== this.activeStack.value) stack?.stop()
  }

  setStack(cell: number, stack: StackController | undefined): void {
    const stacks = [...this.stacks.value]
    stacks[cell] = stack
    this.stacks.value = stacks
    if (stack && stack.set === this.#beginAt?.set) {
      stack.go(this.#beginAt.index)
      this.#beginAt = undefined
    }
  }

  openOhif(): void {
    void openOhif(this.origin.datastoreId, this.series.value[0]?.instances[0]?.studyUid)
  }

  close(): void {
    this.#abort.abort()
  }
}
