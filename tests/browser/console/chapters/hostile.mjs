// Values that would be HTML if somebody took them for it are text wherever they are shown.

import { holds, none } from '../expect.mjs'
import { Viewport } from '../viewport.mjs'

export default async function hostile(walk, { key, store, folder, value }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  const look = async (where, text = value) => {
    await page.getByText(text, { exact: false }).first().waitFor()
    found.push(...(await visit.madeByValues(where)), ...(await visit.tooWide(where)))
  }
  await visit.open(`/console/stores/${store}/import`)
  await visit.drop(page.getByRole('heading', { name: 'Drop files, folders or zip files here' }), [folder])
  const run = page.getByTestId('run')
  await run.getByText(/DICOM files imported/).waitFor()
  for (const details of await run.locator('details:not([open]) > summary').all()) await details.click()
  found.push(...(await visit.madeByValues('import')))
  await run.getByRole('link', { name: 'Show the job' }).click()
  await visit.settled()
  found.push(...(await visit.madeByValues('job')))

  await visit.open(`/console/stores/${store}`)
  const row = page.getByTestId('study').first()
  await row.waitFor()
  await look('studies')
  await row.focus()
  await page.keyboard.press('ArrowRight')
  await page.getByTestId('image-set').first().waitFor()
  await look('series')
  await page.getByRole('searchbox').first().fill(value)
  await row.waitFor()
  await look('search')

  await page.getByTestId('image-set').first().getByRole('link', { name: /^Image set of/ }).click()
  await visit.settled()
  await look('image set')
  holds(!(await page.title()).includes('<'))
  await page.getByRole('tab', { name: 'Metadata' }).click()
  await page.getByTestId('metadata-search').waitFor()
  await visit.settled()
  await look('metadata')
  await page.getByRole('searchbox').first().fill('onerror')
  await look('search in metadata')
  await page.getByRole('tab', { name: 'Versions' }).click()
  await visit.settled()
  found.push(...(await visit.madeByValues('versions')))
  await page.getByRole('link', { name: 'Open viewer' }).click()
  await new Viewport(visit).shows()
  await look('viewer')
  await page.keyboard.press('t')
  await page.getByRole('complementary', { name: 'Attributes of the image' }).waitFor()
  await look('attributes in the viewer')
  await visit.open('/console/events')
  found.push(...(await visit.madeByValues('events')))
  none(found, 'hostile values')
}
