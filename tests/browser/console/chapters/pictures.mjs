// The pictures of the README and the documents: studies, viewer, versions, import, and the viewer on a phone.

import { join } from 'node:path'
import { PHONE } from '../visit.mjs'
import { Viewport } from '../viewport.mjs'

export default async function pictures(walk, { key, store, imageSet, study, folder, done }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const take = (name) => visit.picture(join(walk.pictures, `console-${name}.webp`))

  await visit.open(`/console/stores/${store}`)
  const row = page.getByTestId('study').filter({ hasText: study }).first()
  await row.getByRole('button', { name: /^Show the series/ }).click()
  await page.getByTestId('image-set').first().waitFor()
  await visit.drawn()
  await take('studies')

  await visit.open(`/console/stores/${store}/view/${imageSet}`)
  const viewport = await new Viewport(visit).shows()
  await page.keyboard.press('a')
  await page.getByRole('button', { name: /^Presets: Automatic/ }).waitFor()
  await visit.drawn()
  await take('viewer')

  await visit.open(`/console/stores/${store}/sets/${imageSet}?tab=versions&from=1&to=2`)
  await page.getByRole('region', { name: 'Differences' }).getByText(study).first().waitFor()
  await take('versions')

  await visit.open(`/console/stores/${store}/import`)
  await visit.drop(page.getByRole('heading', { name: 'Drop files, folders or zip files here' }), [folder])
  await page.getByTestId('run').getByText(done).waitFor()
  await visit.settled()
  await take('import')

  await page.setViewportSize(PHONE)
  await visit.open(`/console/stores/${store}/view/${imageSet}`)
  await viewport.shows()
  await page.keyboard.press('a')
  await visit.drawn()
  await take('phone')
}
