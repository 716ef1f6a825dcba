// What the signed-in person may do: asked of the server's policies, all questions of a moment at once.

import { signal, type Signal } from '@preact/signals'
import { useEffect, useMemo } from 'preact/hooks'
import { allowed as ask } from '../api/consoleApi'
import { config } from '../api/config'
import { session } from './session'

const answers = new Map<string, Signal<boolean | undefined>>()
let waiting: { action: string; resource: string; answer: Signal<boolean | undefined> }[] = []
let owner: string | null = null

export function datastoreArn(datastoreId: string, imageSetId?: string): string {
  const { region, accountId } = config.value
  const rest = imageSetId === undefined ? '' : `/imageset/${imageSetId}`
  return `arn:aws:medical-imaging:${region}:${accountId}:datastore/${datastoreId}${rest}`
}

/** `user/NAME`, `user/*`, `role/NAME`, … as policies name them. */
export function iamArn(resource: string): string {
  return `arn:aws:iam::${config.value.accountId}:${resource}`
}

function look(action: string, resource: string): Signal<boolean | undefined> {
  const who = session.value?.accessKeyId ?? null
  if (who !== owner) {
    answers.clear()
    owner = who
  }
  const name = `${action} ${resource}`
  let answer = answers.get(name)
  if (answer === undefined) {
    answer = signal<boolean | undefined>(undefined)
    answers.set(name, answer)
    waiting.push({ action, resource, answer })
    if (waiting.length === 1) queueMicrotask(() => void flush())
  }
  return answer
}

async function flush(): Promise<void> {
  const asked = waiting
  waiting = []
  for (let from = 0; from < asked.length; from += 200) {
    const some = asked.slice(from, from + 200)
    try {
      const found = await ask(some.map(({ action, resource }) => ({ action, resource })))
      some.forEach(({ answer }, index) => (answer.value = found[index] ?? false))
    } catch {
      // Not offered; asked again the next time a page wants to know.
      for (const { action, resource, answer } of some) {
        answer.value = false
        answers.delete(`${action} ${resource}`)
      }
    }
  }
}

/** Whether `action` (such as `medical-imaging:DeleteImageSet`) is allowed on `resource`, an ARN or `*`; undefined until known. */
export function useAllowed(action: string, resource: string): boolean | undefined {
  const who = session.value?.accessKeyId
  const answer = useMemo(() => look(action, resource), [action, resource, who])
  useEffect(() => undefined, [answer])
  return answer.value
}
