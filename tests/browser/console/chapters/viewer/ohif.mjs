// From the console to OHIF in a tab of its own, which gets a token for the data store in the address, and keeps it out of it.

import { holds, same } from '../../expect.mjs'

export default async function ohif(walk, { key, store, study }) {
  const visit = await walk.signedIn('root', key)
  const { page, context } = visit
  await visit.open(`/console/stores/${store}`)
  await page.getByTestId('study').first().getByRole('button', { name: /^Actions for/ }).click()
  // It asks another data store, too, which its token does not open.
  const tab = await visit.expecting(/status of 40[134]/, async () => {
    const [opened] = await Promise.all([context.waitForEvent('page'), page.getByRole('menuitem', { name: 'Open in OHIF' }).click()])
    await opened.waitForFunction(() => document.title === 'shown')
    return opened
  })
  const address = new URL(tab.url())
  same([address.pathname, address.search, address.hash], ['/ohif/viewer', `?StudyInstanceUIDs=${study}`, ''])
  const shown = JSON.parse(await tab.locator('body').innerText())
  holds(!JSON.stringify(await tab.evaluate(() => ({ ...localStorage }))).includes('eyJ'))
  await tab.close()
  return { shown }
}
