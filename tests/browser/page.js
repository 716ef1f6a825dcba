// Loads frames by Cornerstone's DICOM image loader, unmodified, and shows one of them.

import * as cornerstone from '@cornerstonejs/core'
import * as loader from '@cornerstonejs/dicom-image-loader'

const headersOf = new Map()

cornerstone.init({ rendering: { useCPURendering: true } })
cornerstone.setUseCPURendering(true)
loader.init({
  maxWebWorkers: 1,
  // Called with the image id by one way of the loader and with the URL by the other.
  beforeSend: (xhr, id) => headersOf.get(id.replace(/^wadors:/, ''))
})

async function digest(pixels) {
  const bytes = new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength)
  const sum = await crypto.subtle.digest('SHA-256', bytes)
  return [...new Uint8Array(sum)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

// frames: [{ url, headers, metadata, streaming }] → what the loader made of each.
window.load = async (frames) => {
  const seen = []
  for (const { url, headers, metadata, streaming } of frames) {
    headersOf.set(url, headers)
    const id = `wadors:${url}`
    loader.wadors.metaDataManager.add(id, metadata)
    const options = streaming ? { retrieveOptions: { streaming: true, decodeLevel: 3 } } : {}
    const image = await loader.wadors.loadImage(id, options).promise
    const pixels = image.getPixelData()
    seen.push({
      syntax: image.transferSyntaxUID,
      rows: image.rows,
      columns: image.columns,
      type: pixels.constructor.name,
      count: pixels.length,
      sha256: await digest(pixels),
      slope: image.slope,
      intercept: image.intercept
    })
  }
  return seen
}

// Shows a frame that was loaded in a stack viewport, drawn by the processor; resolves when it is drawn.
window.show = async (url) => {
  const element = document.getElementById('picture')
  const engine = new cornerstone.RenderingEngine('engine')
  engine.enableElement({ viewportId: 'view', type: cornerstone.Enums.ViewportType.STACK, element })
  const viewport = engine.getViewport('view')
  const drawn = new Promise((resolve) =>
    element.addEventListener(cornerstone.Enums.Events.IMAGE_RENDERED, resolve, { once: true })
  )
  await viewport.setStack([`wadors:${url}`])
  viewport.render()
  await drawn
  const canvas = viewport.getCanvas()
  return { width: canvas.width, height: canvas.height, picture: canvas.toDataURL('image/png') }
}

window.ready = true
