// The console in Chromium without a GPU. playwright-core is found from the folder that PLAYWRIGHT names (one with
// node_modules), CHROMIUM names the browser.

import { createRequire } from 'node:module'
import { join } from 'node:path'

/** Calls `measure(page)` with a new page of a new profile each round, and prints all that it returns as JSON. */
export async function eachRound(rounds, measure) {
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
      found.push(await measure(await context.newPage()))
      await context.close()
    }
    console.log(JSON.stringify(found))
  } finally {
    await browser.close()
  }
}

/** From the page for signing in. */
export async function signIn(page, key, secret) {
  await page.getByLabel('Access key ID').fill(key)
  await page.getByLabel('Secret access key').fill(secret)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByRole('navigation', { name: 'Main' }).waitFor()
}
