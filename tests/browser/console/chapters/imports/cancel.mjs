// Start an import from a bucket, and cancel it while it runs.

import { none } from '../../expect.mjs'

export default async function cancel(walk, { key, store, input, output, role }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  await visit.open(`/console/stores/${store}/import`)
  await page.getByText('From a bucket').click()
  await page.getByLabel('Files to import').fill(input)
  await page.getByLabel('Where the report goes').fill(output)
  await page.getByLabel('Role that may read and write there').fill(role)
  await page.getByRole('button', { name: 'Start the import' }).click()
  await page.waitForURL(/\/jobs\/[0-9a-f]{32}$/)
  await page.getByRole('button', { name: 'Cancel', exact: true }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel the import' }).click()
  await page.getByText('Cancelled', { exact: true }).waitFor()
  await page.getByRole('alert').getByText(/^Cancelled/).waitFor()
  none([...(await visit.axe('a cancelled job')), ...(await visit.tooWide('a cancelled job'))], 'looks')
  return { job: page.url().split('/').at(-1) }
}
