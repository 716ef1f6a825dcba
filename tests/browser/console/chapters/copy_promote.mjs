// Copy one instance of an image set to a new one and the others into that; promote it in the place of the first, which is
// not deleted before what somebody else has changed in it was seen.

import { none, same } from '../expect.mjs'

export default async function copyAndPromote(walk, { key, path, instances, change }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  const dialog = page.getByRole('dialog')
  const act = async (name) => {
    await page.getByRole('button', { name: 'Actions', exact: true }).click()
    await page.getByRole('menuitem', { name }).click()
  }
  const address = () => new URL(page.url()).pathname
  const away = (from) => page.waitForURL((url) => url.pathname !== from)
  const copy = async (numbers, into) => {
    await visit.open(path)
    await act('Copy…')
    await dialog.getByLabel('Some instances').check()
    await dialog.getByLabel('Instance numbers').fill(numbers)
    if (into !== undefined) {
      await dialog.getByLabel('An image set that exists').check()
      await dialog.getByLabel('Image set ID').fill(visit.origin + into)
      found.push(...(await visit.axe('copying')), ...(await visit.tooWide('copying')))
    }
    await dialog.getByRole('button', { name: 'Copy', exact: true }).click()
    await away(path)
    return address()
  }
  const made = await copy('1')
  await page.getByText('1 instance, 1 frame').waitFor()
  const grown = await copy(`2-${instances}`, made)
  await page.getByText(`${instances} instances, ${instances} frames`).waitFor()
  await page.getByRole('tab', { name: /^Versions/ }).click()
  await page.getByRole('region', { name: 'Differences' }).getByText(`${instances - 1} instances`).first().waitFor()
  await visit.settled()
  found.push(...(await visit.axe('versions of a copy')), ...(await visit.tooWide('versions of a copy')))

  await visit.open(path)
  await act('Delete…')
  await dialog.getByText(/its one version, will be gone/).waitFor()
  same(await visit.call(change), [200, ''])
  await visit.expecting(/status of 409/, async () => {
    await dialog.getByRole('button', { name: 'Delete' }).click()
    await dialog.getByRole('alert').getByText(`${instances} instances now, in version 2`).waitFor()
  })
  same(await dialog.getByRole('button', { name: 'Delete' }).count(), 0)
  found.push(...(await visit.axe('changed meanwhile')), ...(await visit.tooWide('changed meanwhile')))
  await dialog.getByRole('button', { name: 'Look again' }).click()
  await page.getByRole('tab', { name: /^Versions.*2/ }).waitFor()
  await act('Delete…')
  await dialog.getByText(/in all 2 versions/).waitFor()
  await dialog.getByRole('button', { name: 'Delete' }).click()
  await away(path)
  await visit.open(made)
  await act('Promote to primary…')
  await dialog.getByRole('button', { name: 'Promote' }).click()
  await away(made)
  await page.getByText('Primary', { exact: true }).waitFor()
  none(found, 'copy and promote')
  return { made, grown, promoted: address() }
}
