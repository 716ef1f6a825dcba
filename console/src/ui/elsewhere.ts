// When a question that was asked on one page, of one person, is no longer theirs to answer.

import { session } from '../session/session'

/** Calls `then` once the browser goes to another page, or somebody else or nobody is signed in; returns how to stop waiting. */
export function onceElsewhere(then: (isSamePerson: boolean) => void): () => void {
  const who = session.peek()?.accessKeyId
  const leave = () => {
    stop()
    then(session.peek()?.accessKeyId === who)
  }
  const stopSession = session.subscribe((now) => {
    if (now?.accessKeyId !== who) leave()
  })
  const stop = () => {
    window.removeEventListener('popstate', leave)
    stopSession()
  }
  window.addEventListener('popstate', leave)
  return stop
}
