// Find a study by typing, without the mouse: its row, the viewer, the next image, and back.

import { none, same } from '../expect.mjs'
import { Viewport } from '../viewport.mjs'

export default async function find(walk, { key, store, text, patient }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  await visit.open(`/console/stores/${store}`)
  const rows = page.getByTestId('study')
  await rows.first().waitFor()
  const found = [...(await visit.axeInBothThemes('studies')), ...(await visit.tooWide('studies')), ...(await visit.madeByValues('studies'))]

  await page.keyboard.press('/')
  await page.keyboard.type('nothing is called this')
  await page.getByText('No study matches').waitFor()
  await page.keyboard.press('ControlOrMeta+a')
  // At once, so that it is asked for once: a table that is being asked for anew is pale.
  await page.keyboard.insertText(text)
  await rows.filter({ hasText: patient }).first().waitFor()
  await page.locator('.study-table:not(.stale)').waitFor()
  same(await rows.count(), 1)
  // Nothing of a patient is in the address.
  same(new URL(page.url()).search + new URL(page.url()).hash, '')
  same((await page.title()).includes(patient), false)

  await tabTo(page, rows.first())
  await page.keyboard.press('ArrowRight')
  await page.getByTestId('image-set').first().waitFor()
  found.push(...(await visit.axeInBothThemes('studies, opened')), ...(await visit.tooWide('studies, opened')))
  await page.keyboard.press('Enter')
  const viewport = await new Viewport(visit).shows()
  await page.keyboard.press('Home')
  await viewport.shows(0)
  await page.keyboard.press('ArrowDown')
  await viewport.shows(1)
  none(found, 'looks')
  return { position: await viewport.position() }
}

/** Press Tab until something has the focus. */
async function tabTo(page, locator) {
  for (let count = 0; count < 60; count++) {
    if (await locator.evaluate((element) => element === document.activeElement)) return
    await page.keyboard.press('Tab')
  }
  throw new Error('Tab does not come to the row of the study')
}
