// The few assertions that chapters make themselves.

import { deepStrictEqual, ok } from 'node:assert'

export const same = deepStrictEqual
export const holds = ok

/** Nothing may stand in this list. */
export function none(found, what) {
  ok(found.length === 0, `${what}:\n  ${found.join('\n  ')}`)
}
