// A slide in tiles, whole and from further away. Answers pictures of it with how much of it a pixel is.

import { none } from '../../expect.mjs'

export default async function slide(walk, { key, path }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  await visit.open(path)
  const map = page.getByRole('application', { name: /^Slide of/ })
  await map.waitFor()
  const scale = page.getByText(/µm a pixel$/)
  const look = () => visit.still(async () => {
    const size = await scale.innerText()
    const png = (await map.screenshot()).toString('base64')
    const tiles = Number(await page.getByTestId('slide').getAttribute('data-tiles'))
    return tiles > 0 ? { png, microns: parseFloat(size), tiles } : null
  })
  const near = await look()
  const found = [...(await visit.axe('slide')), ...(await visit.tooWide('slide'))]
  await page.getByRole('button', { name: 'Whole slide' }).click()
  await look()
  for (const times of [2, 4]) {
    await page.getByRole('button', { name: 'Zoom out' }).click()
    await page.waitForFunction(
      (wanted) => Math.abs(parseFloat(document.querySelector('.slide-scale').innerText) - wanted) < 0.01,
      near.microns * times
    )
  }
  const far = await look()
  none(found, 'looks')
  return { near, far }
}
