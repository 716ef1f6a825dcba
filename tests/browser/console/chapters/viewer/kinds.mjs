// Open image sets of several kinds. Answers what is seen of the frame of each that the viewer begins with.

import { Viewport } from '../../viewport.mjs'

export default async function kinds(walk, { key, paths }) {
  const visit = await walk.signedIn('root', key)
  const seen = {}
  for (const [name, path] of Object.entries(paths)) {
    await visit.open(path)
    const viewport = await new Viewport(visit).shows()
    seen[name] = await viewport.seen()
  }
  return { seen }
}
