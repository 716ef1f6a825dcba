// Style sheets of pages come when their page is first opened, and stay. A class that one of them styles by itself must
// mean nothing on another page, or how that looks depends on what was open before.

import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'

const SOURCE = join(import.meta.dirname, '..')
const paths = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
const text = (path: string): string => readFileSync(join(SOURCE, path), 'utf8')

/** Classes with which selectors of a style sheet begin, and which have nothing else before or beside them. */
function bare(path: string): Set<string> {
  const found = new Set<string>()
  for (const [, selectors = ''] of text(path).replace(/\/\*[^]*?\*\/|\([^()]*\)/g, '').matchAll(/([^{}]+)\{/g)) {
    for (const selector of selectors.split(',')) {
      const [, name] = /^\s*\.([\w-]+)(?![\w.-])/.exec(selector) ?? []
      if (name !== undefined) found.add(name)
    }
  }
  return found
}

/** Classes that the elements of a component have. */
function used(path: string): Set<string> {
  const found = new Set<string>()
  for (const [, plain, made = ''] of text(path).matchAll(/\bclass=(?:"([^"]*)"|\{(.*?)\}[\s>])/g)) {
    const words = plain ?? [...made.matchAll(/'([^']*)'|`([^`]*)`/g)].map((each) => each[1] ?? each[2]).join(' ')
    for (const word of words.replace(/\$\{[^}]*\}?/g, ' ').split(/\s+/)) found.add(word)
  }
  return found
}

// Those of `styles` and `ui`, and of the frame around all pages, are always there.
const sheets = paths.filter((path) => /^(pages|viewer|uploads|session)\b.*\.css$/.test(path))
const components = paths.filter((path) => path.endsWith('.tsx'))

/** The viewer comes as a whole; of pages, each folder. */
const area = (path: string): string => (path.startsWith('viewer') ? 'viewer' : dirname(path))

test.each(sheets)('%s styles nothing of other pages by itself', (sheet) => {
  const own = bare(sheet)
  const name = sheet.split(/[\\/]/).at(-1)!
  const having = new Set([area(sheet), ...components.filter((path) => text(path).includes(`/${name}'`)).map(area)])
  const shared = components
    .filter((path) => !having.has(area(path)))
    .flatMap((path) => [...used(path)].filter((each) => own.has(each)).map((each) => `.${each} in ${path}`))
  expect(shared).toEqual([])
})

test('a class is styled by itself in one style sheet of a page only', () => {
  const owners = new Map<string, Set<string>>()
  for (const sheet of sheets) {
    for (const name of bare(sheet)) owners.set(name, new Set([...(owners.get(name) ?? []), area(sheet)]))
  }
  expect([...owners].filter(([, several]) => several.size > 1)).toEqual([])
})
