// Change a value of an image set: the preview says what would change, the versions what has, and by whom.

import { none } from '../expect.mjs'

export default async function edit(walk, { key, path, keyword, value, before }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  const looks = async (name) => {
    found.push(...(await visit.axeInBothThemes(name)), ...(await visit.tooWide(name)), ...(await visit.madeByValues(name)))
  }
  await visit.open(path)
  await looks('image set')
  await page.getByRole('tab', { name: 'Metadata' }).click()
  await page.getByTestId('metadata-search').waitFor()
  await visit.settled()
  await looks('metadata')
  await page.getByRole('button', { name: 'Add attribute' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Attribute', { exact: true }).fill(keyword)
  await dialog.getByLabel('Value', { exact: true }).fill(value)
  await looks('editing')
  await dialog.getByRole('button', { name: 'Keep for the preview' }).click()
  await dialog.waitFor({ state: 'detached' })
  await page.getByRole('region', { name: 'Changes that are not applied yet' }).getByRole('button', { name: 'Preview' }).click()
  const preview = page.getByRole('dialog', { name: /Preview of version 2/ })
  await preview.getByText(value).first().waitFor()
  await preview.getByText(before).first().waitFor()
  await looks('preview')
  await preview.getByRole('button', { name: 'Make version 2' }).click()
  await preview.waitFor({ state: 'detached' })

  const versions = page.getByRole('region', { name: 'Versions' })
  await versions.getByText('root').first().waitFor()
  const differences = page.getByRole('region', { name: 'Differences' })
  await differences.getByText(value).first().waitFor()
  await differences.getByText(before).first().waitFor()
  await visit.settled()
  await looks('versions')
  none(found, 'looks')
}
