// Three planes through a volume, and again after a click with the crosshairs. Answers what was drawn, and where it is.

import { none } from '../../expect.mjs'
import { Viewport } from '../../viewport.mjs'

const PLANES = ['Axial', 'Sagittal', 'Coronal']

export default async function planes(walk, { key, path }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  await visit.open(path)
  await new Viewport(visit).shows()
  await page.keyboard.press('m')
  await page.getByTestId('volume').waitFor()
  const canvas = (name) => page.getByRole('application', { name, exact: true }).locator('.volume-canvas')
  const drawn = async () => {
    const seen = {}
    for (const name of PLANES) seen[name] = await canvas(name).evaluate(read)
    return Object.values(seen).includes(null) ? null : seen
  }
  const first = await visit.still(drawn)

  // To another place in the other two planes.
  const { x, y, width, height } = await canvas('Axial').boundingBox()
  await page.mouse.click(x + width * 0.62, y + height * 0.41)
  await page.waitForFunction(
    ([element, before]) => element.viewport.canvasToWorld(0, 0).some((each, axis) => Math.abs(each - before[axis]) > 1),
    [await canvas('Sagittal').elementHandle(), first.Sagittal.corner]
  )
  const second = await visit.still(drawn)
  none(await windowed(page, canvas), 'windows of planes')
  none([...(await visit.axe('planes')), ...(await visit.tooWide('planes'))], 'looks')
  await visit.still(drawn)
  await page.keyboard.press('m')
  await new Viewport(visit).shows()
  return { first, second }
}

/** A drag in one plane windows all three. Answers what is wrong. */
async function windowed(page, canvas) {
  const windows = () => Promise.all(PLANES.map((name) => canvas(name).evaluate(({ viewport }) => JSON.stringify(viewport.getProperties()))))
  await page.getByRole('button', { name: 'Window/level of the planes' }).click()
  const before = await windows()
  const { x, y, width, height } = await canvas('Coronal').boundingBox()
  // Beside the lines, which are moved where they are grabbed, with this tool, too.
  await page.mouse.move(x + width * 0.4, y + height * 0.3)
  await page.mouse.down()
  // For 400 ms Cornerstone waits for a double click; only what is moved after that is a drag for sure. By the page's own
  // clock: of its timers, the later one comes after Cornerstone's however busy it is.
  await page.evaluate(() => new Promise((done) => setTimeout(done, 450)))
  await page.mouse.move(x + width * 0.4 + 30, y + height * 0.3 + 10, { steps: 3 })
  await page.mouse.up()
  const after = await windows()
  await page.getByRole('button', { name: 'Crosshairs' }).click()
  return after[0] === before[0] || new Set(after).size > 1 ? [`from ${before} to ${after}`] : []
}

/** Null before anything is drawn. `corner`, `right`, `down`: millimetres in the patient where pixels of the canvas begin. */
function read(element) {
  const { viewport } = element
  if (viewport === undefined) return null
  const canvas = viewport.getCanvas()
  const middle = document.createElement('canvas').getContext('2d')
  middle.drawImage(canvas, canvas.width / 2, canvas.height / 2, 1, 1, 0, 0, 1, 1)
  if (middle.getImageData(0, 0, 1, 1).data[0] === 0) return null
  const at = (x, y) => viewport.canvasToWorld(x / devicePixelRatio, y / devicePixelRatio)
  const [corner, right, down] = [at(0, 0), at(1, 0), at(0, 1)]
  return { png: canvas.toDataURL('image/png').split(',')[1], corner, right, down, ...viewport.getProperties() }
}
