// A report with a link to the image that it speaks of, letters as PDF one after the other, an electrocardiogram.

import { readFileSync } from 'node:fs'
import { none, same } from '../../expect.mjs'
import { Viewport } from '../../viewport.mjs'

export default async function documents(walk, { key, report, pdf, ecg, place }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  const found = []
  await visit.open(report)
  const text = await page.getByTestId('report').innerText()
  found.push(...(await visit.axe('report')), ...(await visit.tooWide('report')))
  await page.getByTestId('report').getByRole('button', { name: /^image/ }).click()
  const viewport = await new Viewport(visit).shows(place)
  const position = await viewport.position()

  await visit.open(pdf)
  const letters = []
  for (const number of [1, 2]) {
    await page.getByText(`${number} / 2`, { exact: true }).waitFor()
    await page.getByText(`Letter ${number}`, { exact: true }).waitFor()
    const { name, path } = await visit.saved(() => page.getByRole('link', { name: 'Save the PDF' }).click())
    letters.push({ name, data: readFileSync(path).toString('base64') })
    if (number === 1) await page.getByRole('button', { name: 'Next document' }).click()
  }
  same(await page.getByRole('button', { name: 'Next document' }).isEnabled(), false)

  await visit.open(ecg)
  const paper = page.getByTestId('waveform').first()
  await paper.waitFor()
  const label = await paper.getAttribute('aria-label')
  const png = await paper.evaluate((element) => element.toDataURL('image/png').split(',')[1])
  found.push(...(await visit.axe('electrocardiogram')), ...(await visit.tooWide('electrocardiogram')))
  none(found, 'looks')
  return { text, position, letters, label, png }
}
