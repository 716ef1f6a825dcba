// Segments over the slices that they were drawn on: both, one hidden, and none where there are none.

import { none } from '../../expect.mjs'
import { Viewport } from '../../viewport.mjs'

export default async function segments(walk, { key, path, on, off }) {
  const visit = await walk.signedIn('root', key)
  const { page } = visit
  await visit.open(path)
  const viewport = await new Viewport(visit).shows()
  const canvas = (count) => page.getByTestId('segments').and(page.locator(`[data-count="${count}"]`))
  const look = async (index, count) => {
    await viewport.element.evaluate((element, at) => element.viewport.setImageIdIndex(at), index)
    await viewport.shows(index)
    await canvas(count).waitFor()
    const { corner, right, down } = await viewport.seen()
    const png = await canvas(count).evaluate((element) => element.toDataURL('image/png').split(',')[1])
    return { index, corner, right, down, png }
  }
  const both = await look(on, 2)
  const found = [...(await visit.axe('segments')), ...(await visit.tooWide('segments'))]
  const block = page.getByRole('group', { name: 'Segments' }).getByLabel('Block')
  await block.uncheck()
  const one = await look(on, 1)
  await block.check()
  await look(on, 2)
  const neither = await look(off, 0)
  none(found, 'looks')
  return { both, one, neither }
}
