import { expect, test } from 'vitest'
import { titleOf } from './titles'

test.each([
  ['/console/', 'Data stores · lightwell'],
  ['/console/stores', 'Data stores · lightwell'],
  ['/console/stores/f5da04967cd02fe4518f93c25871ce19', 'Studies · lightwell'],
  ['/console/stores/f5da04967cd02fe4518f93c25871ce19/sets/b9aa8239b5cdd98e548bddcd93a7467d', 'Image set · lightwell'],
  ['/console/stores/f5da04967cd02fe4518f93c25871ce19/view/b9aa8239b5cdd98e548bddcd93a7467d', 'Viewer · lightwell'],
  ['/console/nowhere', 'lightwell']
])('%s is called %s', (path, title) => expect(titleOf(path)).toBe(title))
