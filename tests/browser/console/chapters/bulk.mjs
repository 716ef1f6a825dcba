// Several studies at once: copied, exported, promoted once their primary image sets are gone, deleted.

import { none, same } from '../expect.mjs'

export default async function bulk(walk, { key, store, first, second, third }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  await visit.open(`/console/stores/${store}`)
  const row = (name) => page.getByTestId('study').filter({ hasText: name })
  const bar = page.getByRole('toolbar', { name: 'What to do with the picked studies' })
  const dialog = page.getByRole('dialog')
  const pick = async (...names) => {
    for (const name of names) await row(name).getByRole('checkbox').check()
  }
  const carryOut = async (verb, count, done) => {
    await bar.getByRole('button', { name: verb, exact: true }).click()
    await dialog.getByRole('button', { name: `${verb} ${count}` }).click()
    await dialog.getByRole('status').getByText(done).waitFor()
    found.push(...(await visit.axe(done)), ...(await visit.tooWide(done)))
    await dialog.getByRole('button', { name: 'Close' }).last().click()
    await dialog.waitFor({ state: 'detached' })
  }

  await row(first).waitFor()
  await pick(first, second)
  found.push(...(await visit.axe('picked studies')), ...(await visit.tooWide('picked studies')))
  const exported = await visit.saved(async () => {
    await bar.getByRole('button', { name: 'Export' }).click()
    await page.getByRole('menuitem', { name: /uncompressed/ }).click()
  })
  await carryOut('Copy', '2 image sets', 'All copied')
  await row(first).getByText('1 not primary').last().waitFor()

  // Copies of what is there are refused, each with its reason, and go as soon as that is gone.
  await pick(first)
  await bar.getByRole('button', { name: 'Promote' }).click()
  await dialog.getByRole('button', { name: 'Promote 1 image set' }).click()
  await dialog.getByRole('status').getByText('0 image sets promoted, 1 not').waitFor()
  await dialog.getByText(/has these instances already/).waitFor()
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  await row(first).getByRole('button', { name: /^Show the series/ }).click()
  const primary = page.getByTestId('image-set').filter({ hasNotText: 'not primary' })
  await primary.getByRole('button', { name: /^Actions for/ }).click()
  await page.getByRole('menuitem', { name: 'Delete' }).click()
  await dialog.getByRole('button', { name: 'Delete 1 image set' }).click()
  await dialog.getByRole('status').getByText('All deleted').waitFor()
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  await primary.waitFor({ state: 'detached' })
  await pick(first)
  await carryOut('Promote', '1 image set', 'All promoted')
  await primary.waitFor()

  await pick(third)
  await carryOut('Delete', '1 image set', 'All deleted')
  await row(third).waitFor({ state: 'detached' })
  same(await page.getByTestId('study').count(), 2)
  none(found, 'bulk')
  return { exported }
}
