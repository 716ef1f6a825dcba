// The displays that the viewer has. Add one here: `registerDisplay({ name, shows, component })`.

import { lazy } from 'preact-iso'
import { registerDisplay } from './registry'
import { StackDisplay } from './stack/StackDisplay'

registerDisplay({ name: 'Images', shows: (set) => set.frames.length > 0, component: StackDisplay })
registerDisplay({
  name: 'Report',
  // Structured reports of all kinds, and key object selections, are containers (PS3.3 C.17.3).
  shows: (set) => set.frames.length === 0 && set.instances[0]?.attributes.text('ValueType') === 'CONTAINER',
  component: lazy(() => import('./documents/ReportDisplay'))
})
registerDisplay({
  name: 'PDF',
  shows: (set) => set.sopClass === '1.2.840.10008.5.1.4.1.1.104.1',
  component: lazy(() => import('./documents/PdfDisplay'))
})
registerDisplay({
  name: 'Waveform',
  shows: (set) => set.frames.length === 0 && (set.instances[0]?.attributes.items('WaveformSequence').length ?? 0) > 0,
  component: lazy(() => import('./documents/WaveformDisplay'))
})
registerDisplay({
  name: 'Slide',
  shows: (set) => set.kind === 'slide',
  component: lazy(() => import('./slides/SlideDisplay'))
})
registerDisplay({
  name: 'Planes',
  shows: (set) => set.kind === 'volume',
  component: lazy(() => import('./volume/VolumeDisplay'))
})
