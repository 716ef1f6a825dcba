// How soon the console shows something, in Chromium without a GPU, on this machine.
//   node console.mjs URL ACCESS_KEY SECRET DATASTORE [ROUNDS]     prints one JSON object a round
// playwright-core is found from the folder that PLAYWRIGHT names (one with node_modules), CHROMIUM names the browser.

import { createRequire } from 'node:module'
import { join } from 'node:path'

const [, , url, key, secret, store, rounds = '3'] = process.argv
const require = createRequire(join(process.env.PLAYWRIGHT ?? import.meta.dirname, 'x.js'))
const { chromium } = require('playwright-core')

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
})
try {
  const found = []
  for (let round = 0; round < Number(rounds); round++) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
    const page = await context.newPage()
    await page.goto(`${url}/console/`)
    await page.getByLabel('Access key ID').waitFor()
    const cold = await page.evaluate(painted)
    await page.getByLabel('Access key ID').fill(key)
    await page.getByLabel('Secret access key').fill(secret)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await page.getByRole('navigation', { name: 'Main' }).waitFor()
    // A second visit: the session and the files are kept by the browser.
    await page.goto(`${url}/console/stores/${store}`)
    const studies = await page.evaluate(firstRow)
    found.push({ paint: cold.paint, bytes: cold.bytes, requests: cold.requests, again: (await page.evaluate(painted)).paint, studies })
    await context.close()
  }
  console.log(JSON.stringify(found))
} finally {
  await browser.close()
}

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
