// Scroll through a series by keys, wheel and bar; window it by preset, number and drag; measure it; move the planes through
// it. Answers what was seen each time.

import { none, same } from '../../expect.mjs'
import { Viewport } from '../../viewport.mjs'

export default async function viewer(walk, { key, path }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  await visit.open(path)
  const viewport = new Viewport(visit)
  await viewport.shows()
  const length = await viewport.length()
  const seen = []

  await page.keyboard.press('Home')
  await viewport.shows(0)
  same(await viewport.position(), `1 / ${length}`)
  seen.push(await viewport.seen())
  await page.keyboard.press('ArrowDown')
  await viewport.shows(1)
  await viewport.wheel(100)
  await viewport.shows(2)
  seen.push(await viewport.seen())
  await page.keyboard.press('End')
  await viewport.shows(length - 1)
  same(await viewport.position(), `${length} / ${length}`)
  seen.push(await viewport.seen())

  // A preset from the menu, another by its number, and what a drag makes of that.
  await page.getByRole('button', { name: 'Presets' }).click()
  await page.getByRole('menuitemradio', { name: /^Bone/ }).click()
  await page.getByTestId('window').getByText('W 2500 L 480').waitFor()
  seen.push(await viewport.seen())
  await page.getByRole('button', { name: 'Window/level' }).click()
  await viewport.drag(60, -40)
  await page.getByTestId('window').getByText('W 2500 L 480').waitFor({ state: 'hidden' })
  seen.push(await viewport.seen())
  await viewport.element.focus()
  await page.keyboard.press('i')
  await page.getByTestId('window').getByText('inverted').waitFor()
  seen.push(await viewport.seen())
  await page.keyboard.press('x')
  await page.getByTestId('window').getByText('inverted').waitFor({ state: 'hidden' })

  const found = []
  found.push(...(await visit.axeInBothThemes('viewer')))
  found.push(...(await visit.tooWide('viewer')))
  await page.keyboard.press('?')
  await page.getByRole('dialog').waitFor()
  found.push(...(await visit.axeInBothThemes('help of the viewer')))
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  await page.keyboard.press('t')
  await page.getByRole('complementary', { name: 'Attributes of the image' }).waitFor()
  found.push(...(await visit.axeInBothThemes('attributes in the viewer')))
  found.push(...(await visit.madeByValues('attributes in the viewer')))
  await page.keyboard.press('Escape')
  none(found, 'looks')

  await page.getByRole('button', { name: 'Length' }).click()
  await viewport.drag(60, 40)
  await page.getByTestId('measurement').waitFor()
  await viewport.element.focus()
  await page.keyboard.press('m')
  const plane = page.getByRole('application', { name: 'Axial' })
  const lines = plane.locator('svg line')
  await lines.first().waitFor({ state: 'attached' })
  const crossing = () => lines.evaluateAll((all) => all.map((line) => line.outerHTML).join())
  const before = await crossing()
  await plane.click({ position: { x: 60, y: 90 } })
  while ((await crossing()) === before) await page.waitForTimeout(50)
  // Back among the images, what was measured is still there.
  await page.keyboard.press('m')
  await page.getByTestId('measurement').waitFor()
  return { seen, length }
}
