// A reload keeps the session; signing out ends it: on the page, and for whoever copied its credentials.

import { holds, same } from '../expect.mjs'

export default async function session(walk, { key }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  await visit.open('/console/stores')
  await page.reload()
  await page.getByRole('heading', { level: 1 }).waitFor()
  holds(await visit.isSignedIn())

  // What the page signed with can be sent again by whoever saw it, for some minutes, but not after the end.
  const seen = page.waitForRequest((request) => request.url().includes('/datastore') && request.method() === 'GET')
  await page.reload()
  const request = await seen
  const headers = Object.fromEntries(Object.entries(await request.allHeaders()).filter(([name]) => /^(authorization|x-amz-)/.test(name)))
  const again = { method: 'GET', path: request.url().replace(visit.origin, ''), headers }
  same((await visit.call(again))[0], 200)
  holds(/X-Amz-Security-Token/i.test(JSON.stringify(headers)))

  await visit.signOut()
  // Another worker of the server may know the session for a second yet. Counted by tries, with pauses between them:
  // a machine that stands still meanwhile makes none.
  await visit.expecting(/403/, async () => {
    const statuses = []
    do {
      if (statuses.length) await page.waitForTimeout(250)
      statuses.push((await visit.call(again))[0])
    } while (statuses.at(-1) === 200 && statuses.length < 12)
    same(statuses.at(-1), 403)
  })
  await page.reload()
  await page.getByLabel('Access key ID', { exact: true }).waitFor()
  const kept = await page.evaluate(async () => {
    const names = (await indexedDB.databases()).map(({ name }) => name)
    const rows = []
    for (const name of names) {
      const db = await new Promise((done) => (indexedDB.open(name).onsuccess = (event) => done(event.target.result)))
      for (const store of db.objectStoreNames) {
        rows.push(...(await new Promise((done) => (db.transaction(store).objectStore(store).getAllKeys().onsuccess = (event) => done(event.target.result)))).map((key) => `${name}/${store}/${key}`))
      }
      db.close()
    }
    return [...rows, ...Object.keys(sessionStorage), ...Object.keys(localStorage)]
  })
  // The theme, and what Cornerstone found out about the graphics card.
  const ofMachine = ['lightwell-theme', 'cornerstone3D.renderingCapabilities', 'loglevel']
  same(kept.filter((name) => !ofMachine.includes(name)), [])
}
