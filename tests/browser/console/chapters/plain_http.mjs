// Over plain HTTP and from another machine, browsers sign nothing: the page says so and what to do.

import { none, same } from '../expect.mjs'

export default async function plainHttp(walk) {
  const visit = await walk.visit('elsewhere', { origin: walk.elsewhere })
  // Chromium says that it isolates no page of such an origin.
  await visit.expecting(/Cross-Origin-Opener-Policy/, () => visit.open('/console/'))
  await visit.page.getByText(/HTTPS or on this machine/).waitFor()
  same(await visit.page.getByLabel('Access key ID', { exact: true }).count(), 0)
  none(await visit.axeInBothThemes('plain HTTP'), 'axe')
  none(await visit.tooWide('plain HTTP'), 'width')
  none(await walk.leave('elsewhere'), 'faults')
}
