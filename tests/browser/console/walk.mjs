// Walks the console in one Chromium. Reads what to do from stdin, one JSON line a chapter, and answers each with a line.
//
//   {"chapter": "sign_in", "given": {…}}  →  {"output": {…}, "faults": ["…"]}  or  {"error": "…", "faults": […]}
//
// A chapter is a file of chapters/ whose default export is `async (walk, given) => output`.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { launched } from '../chromium.mjs'
import { Visit } from './visit.mjs'

const { ORIGIN, OUT, PICTURES, ELSEWHERE = 'reading-room.test' } = process.env
const CHAPTER_MILLISECONDS = 400_000

// No name but one of the tests' own is found, as on a machine without a network.
const browser = await launched('--no-proxy-server', `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`)

class Walk {
  origin = ORIGIN
  elsewhere = ORIGIN.replace('127.0.0.1', ELSEWHERE)
  out = OUT
  pictures = PICTURES ?? null
  visits = new Map()

  /** The window of a person, opened when first asked for. */
  async visit(name, options = {}) {
    let found = this.visits.get(name)
    if (found === undefined) {
      found = await Visit.begin(browser, { name, origin: this.origin, ...options })
      this.visits.set(name, found)
    }
    return found
  }

  async leave(name) {
    const found = this.visits.get(name)
    this.visits.delete(name)
    await found?.context.close()
    return found?.takeFaults() ?? []
  }

  /** The window of somebody who is signed in: with this key, where an earlier chapter has not done it. */
  async signedIn(name, key) {
    const visit = await this.visit(name)
    if (!(await visit.isSignedIn())) await visit.signInByKey(key)
    return visit
  }

  takeFaults() {
    return [...this.visits.values()].flatMap((visit) => visit.takeFaults())
  }

  /** A picture of every open window, to see why a chapter failed. */
  async look(chapter) {
    mkdirSync(this.out, { recursive: true })
    const made = []
    for (const [name, visit] of this.visits) {
      const path = join(this.out, `${chapter.replace('/', '-')}-${name}.png`)
      await visit.page.screenshot({ path, timeout: 10_000 }).then(() => made.push(`${path} (${visit.page.url()})`), () => undefined)
    }
    return made.join(', ')
  }
}

const walk = new Walk()

async function chapter({ chapter: name, given }) {
  const { default: run } = await import(`./chapters/${name}.mjs`)
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`chapter ${name} did not end`)), CHAPTER_MILLISECONDS)
  })
  try {
    return { output: (await Promise.race([run(walk, given), late])) ?? {}, faults: walk.takeFaults() }
  } catch (error) {
    const pictures = await walk.look(name)
    return { error: `${error.stack}\nseen: ${pictures}`, faults: walk.takeFaults() }
  } finally {
    clearTimeout(timer)
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await chapter(JSON.parse(line)).catch((error) => ({ error: String(error.stack), faults: [] }))
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
await browser.close()
process.exit(0)
