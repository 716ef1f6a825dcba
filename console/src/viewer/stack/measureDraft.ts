// The measurement that is being drawn; there is one pointer, so there is at most one.

import { signal } from '@preact/signals'
import type { Point } from '../model/camera'
import type { Measurement } from './measure'
import type { StackController } from './stackController'

export interface Draft {
  readonly stack: StackController
  readonly kind: Measurement['kind']
  /** The last one follows the pointer. */
  readonly points: readonly Point[]
  readonly message?: string
}

export const draft = signal<Draft | undefined>(undefined)

/** A stack shows another image: points of one must not be joined to points of the next. */
export function dropDraft(stack: StackController): void {
  if (draft.value?.stack === stack) draft.value = undefined
}
