// How soon the console shows something, in Chromium without a GPU, on this machine.
//   node console.mjs URL ACCESS_KEY SECRET DATASTORE [ROUNDS]     prints one JSON object a round

import { eachRound, signIn } from './console_page.mjs'

const [, , url, key, secret, store, rounds = '3'] = process.argv

await eachRound(rounds, async (page) => {
  await page.goto(`${url}/console/`)
  await page.getByLabel('Access key ID').waitFor()
  const { paint, bytes, requests } = await page.evaluate(painted)
  await signIn(page, key, secret)
  // A second visit: the session and the files are kept by the browser.
  await page.goto(`${url}/console/stores/${store}`)
  const studies = await page.evaluate(firstRow)
  return { paint, bytes, requests, again: (await page.evaluate(painted)).paint, studies }
})

/** Runs in the page. Milliseconds from the navigation to the first text or picture; what the page had fetched by then. */
async function painted() {
  const paint = await new Promise((resolve) => {
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (entry.name === 'first-contentful-paint') resolve(entry.startTime)
    }).observe({ type: 'paint', buffered: true })
  })
  const fetched = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  return { paint, bytes: fetched.reduce((sum, entry) => sum + entry.encodedBodySize, 0), requests: fetched.length }
}

/** Runs in the page. Milliseconds from the navigation until the first study is on the page. */
async function firstRow() {
  while (!document.querySelector('main tbody tr a[href]')) {
    await new Promise((resolve) => requestAnimationFrame(resolve))
    if (performance.now() > 60000) throw new Error('no study was listed in a minute')
  }
  return performance.now()
}
