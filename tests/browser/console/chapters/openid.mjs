// In by an OpenID provider: from the page that was asked for, to the provider, to the choice of a role, and back to that page.

import { holds, none, same } from '../expect.mjs'

export default async function openid(walk, { issuer, who, store, role, roles }) {
  const visit = await walk.visit('openid', { beside: [issuer, 'https://fonts.googleapis.com'] })
  const { page, context } = visit
  // The provider's own pages ask for a font; nothing leaves this machine.
  await context.route('https://fonts.googleapis.com/**', (route) => route.fulfill({ body: '', contentType: 'text/css' }))
  const asked = `/console/stores/${store}`
  await visit.open(asked)
  await page.getByRole('button', { name: /^Sign in with/ }).click()
  await page.getByPlaceholder('Enter any login').fill(who)
  await page.getByPlaceholder('and password').fill('any')
  await page.getByRole('button', { name: 'Sign-in' }).click()
  await page.getByRole('button', { name: 'Continue' }).click()

  const choice = page.getByRole('button', { name: role, exact: true })
  await choice.waitFor()
  same(new URL(page.url()).search, '')
  const found = [...(await visit.axeInBothThemes('roles')), ...(await visit.tooWide('roles'))]
  same(await page.getByRole('listitem').getByRole('button').allInnerTexts(), roles)
  await choice.click()
  await page.getByRole('heading', { level: 1, name: 'Studies' }).waitFor()
  same(new URL(page.url()).pathname, asked)
  await page.getByTestId('study').first().waitFor()
  const kept = JSON.stringify(await page.evaluate(() => [history.state, { ...localStorage }, { ...sessionStorage }]))
  holds(!/eyJ|code|verifier/.test(kept))

  await page.reload()
  await visit.settled()
  await page.getByRole('button', { name: /^Signed in as/ }).click()
  await page.getByText(`:assumed-role/${role}/${who}`).waitFor()
  await page.keyboard.press('Escape')
  await visit.signOut()
  await page.getByRole('button', { name: /^Sign in with/ }).waitFor()
  none(found, 'looks')
  none(await walk.leave('openid'), 'faults')
}
