import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'

/** What stands in the header beside the account, e.g. the progress of an upload that goes on while pages change. */
export const headerSlot = signal<ComponentChildren>(null)
