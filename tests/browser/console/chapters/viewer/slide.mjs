// A slide in tiles, whole and from further away. Answers pictures of it with how much of it a pixel is.

import { none } from '../../expect.mjs'

export default async function slide(walk, { key, path }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  await visit.open(path)
  const map = page.getByRole('application', { name: /^Slide of/ })
  await map.waitFor()
  // Drawn in full and at rest, at this scale if one is named.
  const drawn = (microns) => page.waitForFunction((wanted) => {
    if (document.querySelector('.slide[data-state="drawn"]') === null) return false
    return wanted === undefined || Math.abs(parseFloat(document.querySelector('.slide-scale').innerText) - wanted) < 0.01
  }, microns)
  const look = async () => {
    await drawn()
    return visit.still(async () => {
      const png = (await map.screenshot()).toString('base64')
      return { png, microns: parseFloat(await page.getByText(/µm a pixel$/).innerText()) }
    })
  }
  const near = await look()
  const found = [...(await visit.axe('slide')), ...(await visit.tooWide('slide'))]
  await page.getByRole('button', { name: 'Whole slide' }).click()
  await drawn(near.microns)
  for (const times of [2, 4]) {
    await page.getByRole('button', { name: 'Zoom out' }).click()
    await drawn(near.microns * times)
  }
  const far = await look()
  none(found, 'looks')
  return { near, far }
}
