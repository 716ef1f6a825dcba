// How fast the viewer shows a series: from the click in the console, in Chromium without a GPU, on this machine.
//   node viewer.mjs URL ACCESS_KEY SECRET DATASTORE IMAGESET [ROUNDS]     prints one JSON object
// playwright-core is found from the folder that PLAYWRIGHT names (one with node_modules), CHROMIUM names the browser.

import { createRequire } from 'node:module'
import { join } from 'node:path'

const [, , url, key, secret, store, imageSet, rounds = '3'] = process.argv
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
    await page.getByLabel('Access key ID').fill(key)
    await page.getByLabel('Secret access key').fill(secret)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('navigation', { name: 'Main' }).waitFor()
    // The viewer's script and its decoders are loaded while the page is idle.
    await page.waitForTimeout(3000)
    found.push(await page.evaluate(measure, `/console/stores/${store}/view/${imageSet}`))
    await context.close()
  }
  console.log(JSON.stringify(found))
} finally {
  await browser.close()
}

/** Runs in the page. Milliseconds from the click; then a scroll through all images, one a frame of the screen. */
async function measure(path) {
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve))
  const view = () => document.querySelector('[data-testid="viewport"]')
  const times = {}
  let longest = 0
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) longest = Math.max(longest, entry.duration)
  }).observe({ entryTypes: ['longtask'] })
  const link = document.createElement('a')
  link.href = path
  document.getElementById('main').append(link)
  const start = performance.now()
  link.click()
  for (;;) {
    await frame()
    const now = performance.now() - start
    const element = view()
    const state = element?.dataset.state
    if (state === 'preview' || state === 'full') times.first ??= now
    if (state === 'full') times.firstWhole ??= now
    const progress = element?.viewport?.getProgress()
    if (progress && progress.shown === progress.all) times.allSmall ??= now
    if (progress && progress.full === progress.all) {
      times.allWhole = now
      break
    }
    if (now > 60000) throw new Error(`the series was not loaded in a minute: ${JSON.stringify(progress)} ${state}`)
  }
  times.longestTask = longest
  // Again from the start, with nothing loaded: is anything in the way of scrolling while frames arrive?
  const images = view().viewport.getImageIds().length
  let [worst, before, unshown] = [0, performance.now(), 0]
  view().viewport.setImageIdIndex(0)
  await frame()
  await frame()
  before = performance.now()
  for (let i = 1; i < images; i++) {
    view().dispatchEvent(new WheelEvent('wheel', { deltaY: 120, bubbles: true, cancelable: true }))
    await frame()
    const now = performance.now()
    worst = Math.max(worst, now - before)
    before = now
    if (view().dataset.state === 'loading') unshown++
  }
  times.scrollWorstFrame = worst
  times.scrollUnshown = unshown
  times.scrolledTo = Number(view().dataset.index) + 1
  return times
}
