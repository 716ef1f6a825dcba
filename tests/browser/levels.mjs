// Packed frames as docs/howto/levels.md reads them in JavaScript (the block of PAGE, as it stands there), decoded by
// Cornerstone's OpenJPH. URL and HEADERS (JSON) are those of the request. Prints what it saw of each frame as JSON.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const { HEADERS, PAGE, URL: url } = process.env
const [, code] = /```js\n(async function\* packedFrames[^]*?)```/.exec(readFileSync(PAGE, 'utf8'))
const { packedFrames } = await import(`data:text/javascript,${encodeURIComponent(`${code}\nexport { packedFrames }`)}`)

const require = createRequire(import.meta.url)
const wasmBinary = readFileSync(require.resolve('@cornerstonejs/codec-openjph/wasm'))
const openjph = await require('@cornerstonejs/codec-openjph')({ wasmBinary })

const response = await fetch(url, { headers: JSON.parse(HEADERS) })
const seen = []
for await (const frame of packedFrames(response)) {
  if (frame.kind !== 'frame') continue
  const decoder = new openjph.HTJ2KDecoder()
  decoder.getEncodedBuffer(frame.bytes.length).set(frame.bytes)
  decoder.readHeader()
  decoder.decodeSubResolution(frame.reduce)
  const sha256 = createHash('sha256').update(decoder.getDecodedBuffer()).digest('hex')
  const { width, height, position } = frame
  seen.push({ width, height, position, sha256 })
  decoder.delete()
}
console.log(JSON.stringify(seen))
