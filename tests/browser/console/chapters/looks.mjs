// Every page: nothing serious for axe-core in either theme, nothing too wide for a phone, no value that became an element.

import { none } from '../expect.mjs'

export default async function looks(walk, { key, pages }) {
  const visit = await walk.signedIn('root', key)
  const found = []
  for (const [name, path] of Object.entries(pages)) {
    await visit.open(path)
    found.push(...(await visit.axeInBothThemes(name)))
    found.push(...(await visit.tooWide(name)))
    found.push(...(await visit.madeByValues(name)))
    if ((await visit.page.locator('h1').count()) !== 1) found.push(`${name}: has not one heading`)
    if ((await visit.page.getByText('There is no such page').count()) > 0) found.push(`${name}: is not there`)
  }
  none(found, 'looks')
}
