// Ask why somebody may not delete, and what lets them look.

import { none } from '../expect.mjs'

export default async function explain(walk, { key, user, store }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  await visit.open('/console/policies')
  const who = page.getByLabel('Who', { exact: true })
  await who.locator('option').filter({ hasText: user }).first().waitFor({ state: 'attached' })
  const label = (await who.locator('option').allInnerTexts()).find((text) => text.startsWith(user))
  await who.selectOption({ label })
  await page.getByRole('group', { name: 'Resources' }).getByRole('button', { name: store, exact: true }).click()
  await page.getByRole('group', { name: 'Common actions' }).getByRole('button', { name: 'Delete', exact: true }).click()
  const verdict = page.getByTestId('verdict')
  await verdict.getByText('Denied').waitFor()
  found.push(...(await visit.axeInBothThemes('denied')), ...(await visit.tooWide('denied')))
  await page.getByRole('group', { name: 'Common actions' }).getByRole('button', { name: 'Search', exact: true }).click()
  await verdict.getByText('Allowed').waitFor()
  await page.getByText(/which decides/).waitFor()
  none(found, 'looks')
}
