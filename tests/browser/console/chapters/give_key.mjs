// Give somebody a key that reads one data store. Answers the key, which is shown once.

import { none, same } from '../expect.mjs'

export default async function giveKey(walk, { key, user: name, store }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  await visit.open('/console/keys')
  await page.getByRole('button', { name: 'Give somebody a key' }).click()
  const dialog = page.getByRole('dialog', { name: 'Give somebody a key' })
  found.push(...(await visit.axeInBothThemes('giving a key')), ...(await visit.tooWide('giving a key')))
  await dialog.getByLabel('Who is it for?').fill('Anna Smith')
  await dialog.getByText(/not Anna Smith/).waitFor()
  await dialog.getByLabel('Who is it for?').fill(name)
  await dialog.getByRole('radio', { name: /^Viewer/ }).check()
  await dialog.getByLabel('In which data store?').selectOption({ label: store })
  await dialog.getByRole('button', { name: 'Make the key' }).click()

  const made = page.getByRole('dialog', { name: `The key of ${name}` })
  const secretAccessKey = await made.getByTestId('secret').locator('code').innerText()
  const accessKeyId = await made.locator('dd code').first().innerText()
  found.push(...(await visit.axeInBothThemes('the key')), ...(await visit.tooWide('the key')))
  await made.getByRole('button', { name: 'I have kept it' }).click()
  await made.waitFor({ state: 'detached' })
  const row = page.getByRole('row', { name: new RegExp(name) })
  await row.getByText(accessKeyId).waitFor()
  await row.getByText(/Viewer/).waitFor()
  same((await page.content()).includes(secretAccessKey), false)
  none(found, 'looks')
  return { accessKeyId, secretAccessKey }
}
