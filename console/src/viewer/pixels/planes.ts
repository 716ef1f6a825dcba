// Samples of colour frames in the order of pixels.

/**
 * OpenJPH hands out the lines of a codestream without a colour transform plane after plane, and the codec's
 * JavaScript side (2.4.11) takes them for the lines of each row in turn: line n of all planes is found at row n / 3,
 * sample n % 3. This puts them where they belong.
 */
export function linesInOrder(
  data: Uint8Array<ArrayBuffer>,
  width: number,
  height: number,
  samples: number,
  bytes: number
): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(data.length)
  const row = width * samples * bytes
  const step = samples * bytes
  for (let line = 0; line < height * samples; line++) {
    const from = Math.floor(line / samples) * row + (line % samples) * bytes
    const to = (line % height) * row + Math.floor(line / height) * bytes
    for (let x = 0, at = 0; x < width; x++, at += step) {
      for (let byte = 0; byte < bytes; byte++) out[to + at + byte] = data[from + at + byte]!
    }
  }
  return out
}
