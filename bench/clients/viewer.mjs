// How fast the viewer shows a series: from the click in the console, in Chromium without a GPU, on this machine.
//   node viewer.mjs URL ACCESS_KEY SECRET DATASTORE IMAGESET [ROUNDS]     prints one JSON object

import { eachRound, signIn } from './console_page.mjs'

const [, , url, key, secret, store, imageSet, rounds = '3'] = process.argv

await eachRound(rounds, async (page) => {
  await page.goto(`${url}/console/`)
  await signIn(page, key, secret)
  // The viewer's script and its decoders are loaded while the page is idle.
  await page.waitForTimeout(3000)
  return page.evaluate(measure, `/console/stores/${store}/view/${imageSet}`)
})

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
