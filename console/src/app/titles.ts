// What a tab of the browser and its history are called: the page, never what is on it, which may name a patient.

const TITLES: [path: RegExp, title: string][] = [
  [/^\/console\/stores\/[^/]+\/view\//, 'Viewer'],
  [/^\/console\/stores\/[^/]+\/sets\//, 'Image set'],
  [/^\/console\/stores\/[^/]+\/details/, 'Data store'],
  [/^\/console\/stores\/[^/]+\/import/, 'Import'],
  [/^\/console\/stores\/[^/]+\/jobs/, 'Jobs'],
  [/^\/console\/stores\/[^/]+\/?$/, 'Studies'],
  [/^\/console\/(stores\/?)?$/, 'Data stores'],
  [/^\/console\/keys/, 'Access keys'],
  [/^\/console\/roles/, 'Roles'],
  [/^\/console\/authorizers/, 'Authorizers'],
  [/^\/console\/policies/, 'Policy explainer'],
  [/^\/console\/events/, 'Events'],
  [/^\/console\/health/, 'Health']
]

export function titleOf(path: string): string {
  const found = TITLES.find(([pattern]) => pattern.test(path))
  return found === undefined ? 'lightwell' : `${found[1]} · lightwell`
}
