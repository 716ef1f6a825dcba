// In by the one-time link; the link is good once; a wrong key is refused with a sentence.

import { holds, none, same } from '../expect.mjs'

export default async function signIn(walk, { link }) {
  const visit = await walk.visit('root')
  const { page } = visit
  // The page says how to get a link, which is then put into the address of that very page.
  await visit.open('/console/')
  await visit.open(link.replace(visit.origin, ''))
  await page.getByRole('button', { name: /^Signed in as/ }).waitFor()
  await visit.settled()
  same(new URL(page.url()).hash, '')
  holds(!JSON.stringify(await page.evaluate(() => [history.state, { ...localStorage }, { ...sessionStorage }])).includes(link.split('=')[1]))

  const other = await walk.visit('stranger')
  await other.expecting(/403|400/, async () => {
    await other.open(link.replace(visit.origin, ''))
    await other.page.getByRole('alert').getByText(/used already/).waitFor()
    none(await other.axeInBothThemes('sign-in'), 'axe')
    none(await other.tooWide('sign-in'), 'width')
    await other.page.getByLabel('Access key ID', { exact: true }).fill('AKIALIGHTWELLNOBODY0')
    await other.page.getByLabel('Secret access key', { exact: true }).fill('nothing')
    await other.page.getByLabel('Secret access key', { exact: true }).press('Enter')
    await other.page.getByRole('alert').waitFor()
    await other.page.getByText('Signing in…').waitFor({ state: 'detached' })
  })
  return { message: await other.page.getByRole('alert').innerText() }
}
