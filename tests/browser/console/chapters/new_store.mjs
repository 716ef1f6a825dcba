// Create a data store. Answers its id.

import { none } from '../expect.mjs'

export default async function newStore(walk, { key, called }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  await visit.open('/console/stores')
  await page.getByRole('button', { name: 'Create data store' }).first().click()
  const dialog = page.getByRole('dialog', { name: 'Create a data store' })
  await dialog.getByLabel('Name', { exact: true }).fill(called)
  found.push(...(await visit.axeInBothThemes('creating a data store')), ...(await visit.tooWide('creating a data store')))
  await dialog.getByRole('button', { name: /^Create/ }).click()
  await dialog.waitFor({ state: 'detached' })
  await page.waitForURL(/\/stores\/[0-9a-f]{32}$/)
  const store = page.url().split('/').at(-1)
  await visit.choose('Data stores')
  await page.getByTestId('data-store').filter({ hasText: called }).getByRole('link', { name: called }).waitFor()
  none(found, 'looks')
  return { store }
}
