// How an image is placed in a viewport: from pixels of the image to CSS pixels of the viewport, and back.

import type { Turn } from './geometry'

export interface Size {
  readonly width: number
  readonly height: number
}

export interface Point {
  readonly x: number
  readonly y: number
}

/** `zoom` is CSS pixels for one row of the image; undefined fits the image. `pan` moves the centre, in CSS pixels. */
export interface Camera {
  readonly zoom: number | undefined
  readonly panX: number
  readonly panY: number
  /** Clockwise, in degrees. */
  readonly rotation: number
  readonly flipX: boolean
  readonly flipY: boolean
}

export const RESTING: Camera = { zoom: undefined, panX: 0, panY: 0, rotation: 0, flipX: false, flipY: false }

/** x' = a·x + c·y + e, y' = b·x + d·y + f, as canvases have it. */
export interface Matrix {
  readonly a: number
  readonly b: number
  readonly c: number
  readonly d: number
  readonly e: number
  readonly f: number
}

/** The zoom at which the image fits; `aspect` is the width of a pixel by its height. */
export function fitZoom(image: Size, aspect: number, viewport: Size, rotation: number): number {
  const angle = (rotation * Math.PI) / 180
  const [cos, sin] = [Math.abs(exact(Math.cos(angle))), Math.abs(exact(Math.sin(angle)))]
  const width = image.width * aspect
  const zoom = Math.min(
    viewport.width / (width * cos + image.height * sin),
    viewport.height / (width * sin + image.height * cos)
  )
  return zoom > 0 && Number.isFinite(zoom) ? zoom : 1
}

export function zoomOf(camera: Camera, image: Size, aspect: number, viewport: Size): number {
  return camera.zoom ?? fitZoom(image, aspect, viewport, camera.rotation)
}

export function turnOf(camera: Camera): Turn {
  const angle = (camera.rotation * Math.PI) / 180
  const [cos, sin] = [exact(Math.cos(angle)), exact(Math.sin(angle))]
  const [x, y] = [camera.flipX ? -1 : 1, camera.flipY ? -1 : 1]
  // Rotated first, then flipped: flips are always along the axes of the screen.
  return { rightX: cos * x, rightY: sin * y, downX: -sin * x, downY: cos * y }
}

function exact(value: number): number {
  return Math.abs(value - Math.round(value)) < 1e-12 ? Math.round(value) : value
}

/** `ratio`: device pixels for a CSS pixel; unscaled images are put on whole device pixels, so that each is one. */
export function matrixOf(camera: Camera, image: Size, aspect: number, viewport: Size, ratio = 1): Matrix {
  const zoom = zoomOf(camera, image, aspect, viewport)
  const turn = turnOf(camera)
  const a = turn.rightX * zoom * aspect
  const b = turn.rightY * zoom * aspect
  const c = turn.downX * zoom
  const d = turn.downY * zoom
  let e = viewport.width / 2 + camera.panX - (a * image.width + c * image.height) / 2
  let f = viewport.height / 2 + camera.panY - (b * image.width + d * image.height) / 2
  if (camera.rotation % 90 === 0) {
    e = Math.round(e * ratio) / ratio
    f = Math.round(f * ratio) / ratio
  }
  return { a, b, c, d, e, f }
}

export function apply(matrix: Matrix, point: Point): Point {
  return {
    x: matrix.a * point.x + matrix.c * point.y + matrix.e,
    y: matrix.b * point.x + matrix.d * point.y + matrix.f
  }
}

export function invert(matrix: Matrix, point: Point): Point {
  const determinant = matrix.a * matrix.d - matrix.b * matrix.c
  const [x, y] = [point.x - matrix.e, point.y - matrix.f]
  return { x: (matrix.d * x - matrix.c * y) / determinant, y: (matrix.a * y - matrix.b * x) / determinant }
}

/** Zoomed by a factor about a point of the viewport, which stays where it is. */
export function zoomedAt(camera: Camera, factor: number, at: Point, image: Size, aspect: number, viewport: Size): Camera {
  const before = zoomOf(camera, image, aspect, viewport)
  const zoom = Math.min(Math.max(before * factor, 0.02), 64)
  const by = zoom / before
  const [x, y] = [at.x - viewport.width / 2, at.y - viewport.height / 2]
  return { ...camera, zoom, panX: x - (x - camera.panX) * by, panY: y - (y - camera.panY) * by }
}

/** Turned by quarters about the centre of the viewport. */
export function rotated(camera: Camera, degrees: number): Camera {
  const isMirrored = camera.flipX !== camera.flipY
  const angle = (degrees * Math.PI) / 180
  const [cos, sin] = [exact(Math.cos(angle)), exact(Math.sin(angle))]
  return {
    ...camera,
    rotation: (camera.rotation + (isMirrored ? -degrees : degrees) + 720) % 360,
    panX: camera.panX * cos - camera.panY * sin,
    panY: camera.panX * sin + camera.panY * cos
  }
}

export function flipped(camera: Camera, axis: 'x' | 'y'): Camera {
  return axis === 'x'
    ? { ...camera, flipX: !camera.flipX, panX: -camera.panX }
    : { ...camera, flipY: !camera.flipY, panY: -camera.panY }
}
