// Who may look at one data store: sees it, is offered nothing more, and is refused everything more by the server itself.

import { none, same } from '../expect.mjs'

// What changes something, by the names of buttons, links and entries of menus.
const CHANGES =
  /^(create|new data store|import|choose files|choose a folder|edit|delete|revert|promote|copy (to|these|this|the image)|give|revoke|remove|upload (a|files)|start|cancel the|tags|add|make)\b/i
const AWAY = ['Keys', 'Roles', 'Authorizers', 'Policy explainer', 'Import', 'Jobs', 'Health']

export default async function reader(walk, { key, pages, refused, allowed }) {
  const visit = await walk.visit('reader')
  const { page } = visit
  await visit.signInByKey(key)
  const found = []
  for (const [name, path] of Object.entries(pages)) {
    await visit.expecting(/403/, () => visit.open(path))
    for (const role of ['button', 'link', 'menuitem']) {
      // All at one moment: a page may change between two questions.
      const labels = await page.getByRole(role, { disabled: false }).evaluateAll((all) => all.map((each) => each.getAttribute('aria-label') ?? each.innerText))
      found.push(...labels.filter((label) => CHANGES.test(label.trim())).map((label) => `${name} offers ${JSON.stringify(label)}`))
    }
    const menu = page.getByRole('navigation', { name: 'Main' })
    for (const away of AWAY) if ((await menu.getByRole('link', { name: away, exact: true }).count()) > 0) found.push(`${name} leads to ${away}`)
  }
  none(found, 'the reader')

  for (const request of allowed) {
    const [status, fault] = await visit.call(request)
    same([request.path, status, fault], [request.path, 200, ''])
  }
  await visit.expecting(/403/, async () => {
    for (const request of refused) {
      const [status, fault] = await visit.call(request)
      same([request.method, request.path, status, fault], [request.method, request.path, 403, 'AccessDeniedException'])
    }
  })
}
