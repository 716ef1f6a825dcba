// Overlay planes of an image (PS3.3 C.9.2, C.9.3): graphics of one bit that belong to the picture.

import type { Attributes } from '../model/attributes'

const WHITE = 0xffffffff
const GROUPS = Array.from({ length: 16 }, (_, i) => (0x6000 + 2 * i).toString(16).toUpperCase())

/**
 * Draws the planes of a frame (from 0) in white, as the server's renderings do. Regions of interest are for measuring and
 * not drawn, and neither are overlays in unused bits of the samples, which are retired. A plane that is too short is left out.
 */
export function drawOverlays(pixels: Uint32Array, width: number, height: number, attributes: Attributes, frame: number): void {
  for (const group of GROUPS) {
    if (!attributes.has(`${group}3000`) || attributes.text(`${group}0040`) === 'R') continue
    const number = (element: string): number | undefined => attributes.number(`${group}${element}`)
    const [rows, columns] = [number('0010') ?? 0, number('0011') ?? 0]
    const bytes = attributes.bytes(`${group}3000`)
    const plane = frame - ((number('0051') ?? 1) - 1)
    const isMultiFrame = number('0015') !== undefined
    if (!bytes || rows < 1 || columns < 1 || plane < 0 || (isMultiFrame && plane >= number('0015')!)) continue
    const first = isMultiFrame ? plane * rows * columns : 0
    if (bytes.length * 8 < first + rows * columns) continue
    // Row 1, column 1 is the first pixel of the image; 0 and less lie above and left of it.
    const [row = 1, column = 1] = attributes.numbers(`${group}0050`)
    if (!Number.isInteger(row) || !Number.isInteger(column)) continue
    const [top, left] = [row - 1, column - 1]
    for (let y = Math.max(0, -top); y < Math.min(rows, height - top); y++) {
      for (let x = Math.max(0, -left); x < Math.min(columns, width - left); x++) {
        const bit = first + y * columns + x
        if ((bytes[bit >> 3]! >> (bit & 7)) & 1) pixels[(y + top) * width + x + left] = WHITE
      }
    }
  }
}
