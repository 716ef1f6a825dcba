// What a test reads of a viewport, from its element: the decoded samples and the state that the canvas shows.

import { apply, type Point } from '../model/camera'
import { applyModality, modalityTransform } from '../pixels/greyscale'
import type { SampleArray } from '../pixels/frame'
import type { StackController } from './stackController'

export interface ViewportInspection {
  getCurrentImageIdIndex(): number
  getImageIds(): string[]
  setImageIdIndex(index: number): void
  /** How many frames are there in full, how many at all (in full or small), of how many. */
  getProgress(): { full: number; shown: number; all: number }
  getCanvas(): HTMLCanvasElement
  /** The decoded frame; undefined unless it is there in full. */
  getImage(): { imageId: string; sopInstanceUid: string; frame: number; width: number; height: number; samples: number; data: SampleArray; slope: number; intercept: number } | undefined
  /** CSS pixels of the canvas for a pixel of the image, of which whole numbers are corners and halves centres. */
  imageToCanvas(point: Point): Point
  getProperties(): { window: unknown; inverse: boolean; index: number | undefined; quality: string | undefined }
  setSmooth(isSmooth: boolean): void
}

export function exposeViewport(element: HTMLElement, stack: StackController, canvas: HTMLCanvasElement): void {
  const inspection: ViewportInspection = {
    getCurrentImageIdIndex: () => stack.index.value,
    getImageIds: () => stack.set.frames.map((_, index) => stack.frameId(index)),
    setImageIdIndex: (index) => stack.go(index),
    getProgress: () => stack.frames.progress(),
    getCanvas: () => canvas,
    getImage() {
      const state = stack.frames.state(stack.index.value)
      if (state.kind !== 'full') return undefined
      const { width, height, samples, data } = state.frame
      const modality = modalityTransform(stack.attributes.value)
      const intercept = applyModality(modality, 0)
      const { instance, frame } = stack.set.frames[stack.index.value]!
      return { imageId: stack.frameId(), sopInstanceUid: instance.uid, frame: frame + 1, width, height, samples, data, slope: applyModality(modality, 1) - intercept, intercept }
    },
    imageToCanvas: (point) => apply(stack.matrix.value, point),
    getProperties() {
      const shown = stack.shown.value
      const window = shown?.voi?.kind === 'window' ? shown.voi.window : undefined
      return { window, inverse: stack.inverse.value, index: shown?.index, quality: shown?.quality }
    },
    setSmooth(isSmooth) {
      stack.isSmooth.value = isSmooth
      stack.repaint()
    }
  }
  ;(element as HTMLElement & { viewport?: ViewportInspection }).viewport = inspection
}
