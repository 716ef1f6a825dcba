// The line goes while files are sent, and the page is loaded again: the same folder, dropped again, sends only the rest.

import { none } from '../../expect.mjs'

const FILES = /\/uploads\/[^/]+\/files$/

export default async function resume(walk, { key, store, folder, files, before }) {
  const visit = await walk.signedIn('root', key)
  const { page, context } = visit
  await visit.open(`/console/stores/${store}/import`)
  const zone = page.getByRole('heading', { name: 'Drop files, folders or zip files here' })
  const run = page.getByTestId('run')
  let sent = 0
  const broken = async (route) => {
    if (route.request().method() !== 'PUT') return route.continue()
    return ++sent > before ? route.abort('connectionreset') : route.continue()
  }
  await context.route(FILES, broken)
  await visit.expecting(/ERR_CONNECTION_RESET/, async () => {
    await visit.drop(zone, [folder])
    await run.getByText(/Trying again/).waitFor()
    await run.getByText(`${before} of ${files}`).waitFor()
    await page.reload()
  })
  await visit.settled()
  await context.unroute(FILES, broken)
  await page.getByText(`${before} of ${files} files have arrived, ${files - before} are missing`).waitFor()
  const found = [...(await visit.axe('what is left of an upload')), ...(await visit.tooWide('what is left of an upload'))]

  // By name: a file that the server had no time for is rightly sent once more.
  const again = new Set()
  const count = (request) => {
    if (request.method() === 'PUT' && FILES.test(request.url())) again.add(request.headers()['x-lightwell-name'])
  }
  context.on('request', count)
  await visit.drop(zone, [folder])
  await run.getByText(`${files} of ${files} DICOM files imported`).waitFor()
  context.off('request', count)
  none(found, 'looks')
  return { again: again.size }
}
