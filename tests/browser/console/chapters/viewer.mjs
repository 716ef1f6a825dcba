// Scroll through a series by keys, wheel and bar; window it by preset, number and drag. Answers what was seen each time.

import { none, same } from '../expect.mjs'
import { Viewport } from '../viewport.mjs'

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
  return { seen, length }
}
