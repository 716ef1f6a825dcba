// What is no plain stack of images is shown as such, or said to have no display: never an error, never an empty page.

import { none } from '../../expect.mjs'

export default async function otherKinds(walk, { key, paths }) {
  const visit = await walk.signedIn('root', key)
  const found = []
  for (const [name, path] of Object.entries(paths)) {
    await visit.open(path)
    const viewport = visit.page.getByRole('region', { name: 'Viewport 1' })
    await viewport.locator(':scope > *').first().waitFor()
    await visit.page.waitForFunction(() => document.querySelector('.viewer-main .spinner, .viewer-main .skeleton') === null)
    if ((await viewport.getByRole('alert').count()) > 0) found.push(`${name}: ${await viewport.getByRole('alert').first().innerText()}`)
    found.push(...(await visit.axe(name)), ...(await visit.tooWide(name)), ...(await visit.madeByValues(name)))
  }
  none(found, 'other kinds')
}
