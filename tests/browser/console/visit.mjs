// A person at the console: a browser context of their own with one page, and all that went wrong in it.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
// Waiting ends as soon as what is waited for is there: only a machine that does much else takes so long.
const PATIENT = 90_000
const MOST_SAID = 6

export const WIDE = { width: 1440, height: 900 }
export const PHONE = { width: 390, height: 844 }

export class Visit {
  faults = []
  #expected = []

  /** `beside` are other origins that this person is led to, whose pages are not ours to judge. */
  static async begin(browser, { name, origin, beside = [], viewport = WIDE, colorScheme = 'dark', ...options }) {
    const context = await browser.newContext({
      viewport,
      colorScheme,
      locale: 'en-GB',
      timezoneId: 'UTC',
      reducedMotion: 'reduce',
      acceptDownloads: true,
      ...options
    })
    context.setDefaultTimeout(PATIENT)
    const visit = new Visit()
    Object.assign(visit, { name, origin, beside, context })
    await context.exposeBinding('reportViolation', (_, text) => visit.fault(`policy of the page: ${text}`))
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => {
        window.reportViolation(`${event.violatedDirective} ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`)
      })
    })
    context.on('request', (request) => {
      const url = new URL(request.url())
      // The browser's own reader of PDF is made of pages of its own.
      const own = ['blob:', 'data:', 'chrome:', 'chrome-extension:'].includes(url.protocol) || [origin, ...beside].includes(url.origin)
      if (!own) visit.fault(`a request left: ${request.method()} ${url}`)
    })
    context.on('page', (page) => visit.#watch(page))
    visit.page = await context.newPage()
    return visit
  }

  #watch(page) {
    page.on('console', (message) => {
      // Whoever may do little is refused what a page asks for before it knows; chapters look at what it shows then.
      if (this.name === 'reader' && /status of 403/.test(message.text())) return
      if (this.beside.some((other) => message.location().url.startsWith(`${other}/`))) return
      if (message.type() === 'error') this.fault(`console: ${message.text()} (${message.location().url})`)
    })
    page.on('pageerror', (error) => this.fault(`uncaught: ${error.stack ?? error}`))
    page.on('crash', () => this.fault('the page crashed'))
    page.on('dialog', (dialog) => {
      if (dialog.type() !== 'beforeunload') this.fault(`dialog: ${dialog.message()}`)
      void dialog.accept().catch(() => undefined)
    })
  }

  fault(text) {
    if (!this.#expected.some((pattern) => pattern.test(text))) this.faults.push(`${this.name}: ${text}`)
  }

  takeFaults() {
    return this.faults.splice(0)
  }

  /** Do what makes errors of this kind appear in the browser's console, such as a refusal that is wanted. */
  async expecting(pattern, work) {
    this.#expected.push(pattern)
    try {
      return await work()
    } finally {
      // What the page says reaches us in order: after an answer of the page nothing older comes.
      await this.page.evaluate(() => undefined).catch(() => undefined)
      this.#expected.splice(this.#expected.indexOf(pattern), 1)
    }
  }

  // --- going about ------------------------------------------------------------------------------------------------

  async open(path = '/console/') {
    await this.page.goto(this.origin + path)
    await this.settled()
  }

  /** Wait until nothing loads any more. The code of a page is loaded, too: before that there is no heading. */
  async settled() {
    await this.page.waitForFunction(() =>
      document.querySelector('#app h1') !== null && document.querySelector('.skeleton, main .spinner, [aria-busy="true"]') === null
    )
  }

  /** Wait until small pictures are drawn, and letters are those of the page's own font. */
  async drawn() {
    await this.page.evaluate(() => document.fonts.ready)
    await this.page.waitForLoadState('networkidle')
    await this.page.evaluate(() => Promise.all([...document.images].map((image) => image.decode().catch(() => undefined))))
  }

  /** Choose in the navigation, as a person does; on a phone it is opened first. */
  async choose(name) {
    const link = this.page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name, exact: true })
    if (!(await link.isVisible())) await this.page.getByRole('button', { name: 'Open navigation' }).click()
    await link.click()
    await this.settled()
  }

  async isSignedIn() {
    if (!this.page.url().startsWith(this.origin)) return false
    return (await this.page.getByLabel('Access key ID', { exact: true }).count()) === 0
  }

  async signInByKey({ accessKeyId, secretAccessKey }) {
    if (!this.page.url().startsWith(this.origin)) await this.open()
    await this.page.getByLabel('Access key ID', { exact: true }).fill(accessKeyId)
    await this.page.getByLabel('Secret access key', { exact: true }).fill(secretAccessKey)
    await this.page.getByRole('button', { name: 'Sign in', exact: true }).click()
    await this.page.getByRole('button', { name: /^Signed in as/ }).waitFor()
    await this.settled()
  }

  async signOut() {
    await this.page.getByRole('button', { name: /^Signed in as/ }).click()
    await this.page.getByRole('menuitem', { name: /^Sign out/ }).click()
    await this.page.getByLabel('Access key ID', { exact: true }).waitFor()
  }

  // --- looking ----------------------------------------------------------------------------------------------------

  /** What axe-core finds serious or critical on the page as it is, in this colour scheme. */
  async axe(where) {
    const page = this.page
    if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(AXE)
    const look = () => page.evaluate(async () => {
      const { violations } = await window.axe.run(document, { resultTypes: ['violations'] })
      return violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(' ')} — ${node.html.slice(0, 160)} — ${node.any[0]?.message ?? node.all[0]?.message ?? node.none[0]?.message ?? ''}`))
    })
    let found = await look()
    if (found.length > 0) {
      // What is seen between two pictures, such as the colours of the theme before, is gone in the next ones.
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
      found = await look()
    }
    const more = found.length > MOST_SAID ? [`and ${found.length - MOST_SAID} more`] : []
    return [...found.slice(0, MOST_SAID), ...more].map((text) => `${where}: ${text}`)
  }

  /** axe-core in both themes. */
  async axeInBothThemes(where) {
    const found = []
    for (const colorScheme of ['dark', 'light']) {
      await this.#shine(colorScheme)
      found.push(...(await this.axe(`${where} (${colorScheme})`)))
    }
    await this.#shine('dark')
    return found
  }

  /** Change the system's theme, and wait until nothing on the page is still between the two. */
  async #shine(colorScheme) {
    await this.page.emulateMedia({ colorScheme })
    await this.page.evaluate(async () => {
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
      for (const animation of document.getAnimations()) if (animation instanceof CSSTransition) animation.finish()
    })
  }

  /** What sticks out of the page on a phone, so that all of it can be moved sideways. */
  async tooWide(where) {
    const before = this.page.viewportSize()
    await this.page.setViewportSize(PHONE)
    await this.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
    const found = await this.page.evaluate(() => {
      const wide = document.documentElement.clientWidth
      if (document.documentElement.scrollWidth <= wide) return []
      return [...document.querySelectorAll('body *')]
        .filter((element) => element.getBoundingClientRect().right > wide + 0.5)
        .slice(-3)
        .map((element) => `${element.tagName.toLowerCase()}.${element.className} ends at ${Math.round(element.getBoundingClientRect().right)} px`)
    })
    await this.page.setViewportSize(before)
    return found.map((text) => `${where} at 390 px: ${text}`)
  }

  /** Elements that a value of a file has made, if any: such values begin with `<img src=x` or `<script`. */
  async madeByValues(where) {
    const found = await this.page.evaluate(() => [
      ...[...document.querySelectorAll('img[src="x"], [onerror], [onload], body script')].map((element) => element.outerHTML.slice(0, 200)),
      ...(window.owned === undefined ? [] : ['a value ran as a script'])
    ])
    return found.map((text) => `${where}: made of a value: ${text}`)
  }

  /** A picture for the documents, small: WebP by the browser itself. */
  async picture(path) {
    const session = await this.context.newCDPSession(this.page)
    const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: 82 })
    await session.detach()
    const { writeFileSync } = await import('node:fs')
    writeFileSync(path, Buffer.from(data, 'base64'))
  }

  /** What the browser saves while `work` is done: where it is. */
  async saved(work) {
    const [download] = await Promise.all([this.page.waitForEvent('download'), work()])
    return { name: download.suggestedFilename(), path: await download.path() }
  }

  /** What `take` sees once it sees the same twice, with two frames between; null is nothing to be seen yet. */
  async still(take) {
    const end = Date.now() + PATIENT
    for (let before = await take(); Date.now() < end; ) {
      await this.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
      const now = await take()
      if (now !== null && JSON.stringify(now) === JSON.stringify(before)) return now
      before = now
    }
    throw new Error('what is shown does not come to rest')
  }

  // --- calls by hand ----------------------------------------------------------------------------------------------

  /** Send a request that the tests have signed, from the page: `[status, name of the error]`. */
  async call({ method, path, headers, body }) {
    return this.page.evaluate(
      async ([url, init]) => {
        const response = await fetch(url, { ...init, credentials: 'omit' })
        return [response.status, response.headers.get('x-amzn-errortype') ?? '']
      },
      [this.origin + path, { method, headers, body: body || undefined }]
    )
  }

  /** Drop files or folders of this machine on the page, as from its file manager. */
  async drop(locator, paths) {
    const box = await locator.boundingBox()
    const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 }
    const data = { items: [], files: paths, dragOperationsMask: 1 }
    const session = await this.context.newCDPSession(this.page)
    for (const type of ['dragEnter', 'dragOver', 'drop']) {
      await session.send('Input.dispatchDragEvent', { type, ...at, data })
    }
    await session.detach()
  }
}
