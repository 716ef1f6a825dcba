// Drop a zip file: what is DICOM in it is imported, the rest named; one that is broken is said to be.

import { none } from '../../expect.mjs'

export default async function zipFile(walk, { key, store, file, broken, done }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  await visit.open(`/console/stores/${store}/import`)
  const zone = page.getByRole('heading', { name: 'Drop files, folders or zip files here' })
  await visit.drop(zone, [file])
  const run = page.getByTestId('run')
  await run.getByText(done).waitFor()
  await run.getByText('2 files left out, since they are no DICOM files').click()
  await run.getByText('not a DICOM file').waitFor()
  await visit.drop(zone, [broken])
  await run.getByText('Nothing is imported: what was dropped could not be read.').waitFor()
  await run.getByText(/cannot be read as a zip file/).waitFor()
  found.push(...(await visit.axe('import of zip files')), ...(await visit.tooWide('import of zip files')), ...(await visit.madeByValues('import of zip files')))
  none(found, 'looks')
}
