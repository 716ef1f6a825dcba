// Opens the built page in Chromium and lets it load what INPUT (a JSON file) says; prints what it saw.

import { createReadStream, existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { launched } from './chromium.mjs'

const types = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' }
const dist = join(import.meta.dirname, 'dist')
const { frames, show } = JSON.parse(readFileSync(process.env.INPUT, 'utf8'))

const server = createServer((request, response) => {
  const path = join(dist, normalize(request.url === '/' ? '/index.html' : request.url.split('?')[0]))
  if (!path.startsWith(dist) || !existsSync(path)) return response.writeHead(404).end()
  response.writeHead(200, { 'content-type': types[extname(path)] ?? 'application/octet-stream' })
  createReadStream(path).pipe(response)
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))

const browser = await launched()
try {
  const page = await browser.newPage()
  const said = []
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`))
  page.on('pageerror', (error) => said.push(`error: ${error.stack}`))
  await page.goto(`http://127.0.0.1:${server.address().port}/`)
  try {
    await page.waitForFunction('window.ready === true', undefined, { timeout: 90_000 })
    const loaded = await page.evaluate((list) => window.load(list), frames)
    const shown = await page.evaluate((url) => window.show(url), show)
    console.log(JSON.stringify({ loaded, shown }))
  } catch (error) {
    console.error(said.join('\n'))
    throw error
  }
} finally {
  await browser.close()
  server.close()
}
