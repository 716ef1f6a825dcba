// What a test reads of a plane through a volume, from its element: what is drawn, and where in the patient that is.

import type { Types } from '@cornerstonejs/core'

export interface PlaneInspection {
  getCanvas(): HTMLCanvasElement
  /** Millimetres in the patient for CSS pixels of the canvas. */
  canvasToWorld(x: number, y: number): number[]
  getProperties(): { lower: number; upper: number } | undefined
}

export function exposePlane(element: HTMLElement, viewport: Types.IVolumeViewport): void {
  const inspection: PlaneInspection = {
    getCanvas: () => viewport.getCanvas(),
    canvasToWorld: (x, y) => [...(viewport.canvasToWorld([x, y]) ?? [])],
    getProperties: () => viewport.getProperties()?.voiRange
  }
  ;(element as HTMLElement & { viewport?: PlaneInspection }).viewport = inspection
}
