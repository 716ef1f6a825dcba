// Which component shows what. A display is registered here and nowhere else; a viewport holds any of them.

import type { ComponentType } from 'preact'
import type { DisplaySet } from './model/displaySets'
import type { ViewerState } from './page/viewerState'

export interface DisplayProps {
  readonly set: DisplaySet
  readonly viewer: ViewerState
  /** The viewport that it is in. */
  readonly cell: number
  readonly isActive: boolean
}

export interface Display {
  readonly name: string
  readonly shows: (set: DisplaySet) => boolean
  readonly component: ComponentType<DisplayProps>
}

const displays: Display[] = []

/** Those registered later are asked first. Heavy ones are `lazy` components. */
export function registerDisplay(display: Display): void {
  displays.unshift(display)
}

export function displayFor(set: DisplaySet): Display | undefined {
  return displays.find((display) => display.shows(set))
}
