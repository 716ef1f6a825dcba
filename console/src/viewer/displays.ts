// The displays that the viewer has. Add one here: `registerDisplay({ name, shows, component })`.

import { registerDisplay } from './registry'
import { StackDisplay } from './stack/StackDisplay'

registerDisplay({ name: 'Images', shows: (set) => set.frames.length > 0, component: StackDisplay })
