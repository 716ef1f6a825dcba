// Drop a folder, load the page again while it is being imported, drop it again, watch it to its end.

import { holds, none } from '../../expect.mjs'

export default async function importFolder(walk, { key, store, folder, done }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  await visit.open(`/console/stores/${store}/import`)
  const zone = page.getByRole('heading', { name: 'Drop files, folders or zip files here' })
  found.push(...(await visit.axeInBothThemes('import, empty')), ...(await visit.tooWide('import, empty')))
  await visit.drop(zone, [folder])
  await page.getByTestId('run').waitFor()

  // Wherever it was: what had been sent is not sent again, and a job that runs is shown.
  await page.reload()
  await visit.settled()
  holds(await visit.isSignedIn())
  await visit.drop(zone, [folder])
  const run = page.getByTestId('run')
  await run.getByText(done).waitFor()
  found.push(...(await visit.axeInBothThemes('import, done')), ...(await visit.tooWide('import, done')), ...(await visit.madeByValues('import')))

  await run.getByRole('link', { name: 'Show the job' }).click()
  await page.getByRole('heading', { level: 1 }).waitFor()
  await visit.settled()
  found.push(...(await visit.axeInBothThemes('a job')), ...(await visit.tooWide('a job')), ...(await visit.madeByValues('a job')))
  none(found, 'looks')
  return { job: page.url().split('/').at(-1) }
}
