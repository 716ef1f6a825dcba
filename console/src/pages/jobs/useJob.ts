import { useEffect, useState } from 'preact/hooks'
import { type Job, getJob } from '../../api/imports'
import { isAbort } from '../../api/errors'
import { mayPass } from '../../uploads/send'

const POLL_MS = 1000
const LARGE = 100_000

/** A job, looked at again and again until it has ended. */
export function useJob(store: string, id: string, onEnd?: () => void): { job: Job | undefined; error: unknown; set: (job: Job) => void; reload: () => void } {
  const [job, setJob] = useState<Job>()
  const [error, setError] = useState<unknown>()
  const [round, setRound] = useState(0)
  useEffect(() => {
    const controller = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    let wasRunning = false
    setJob(undefined)
    const look = async () => {
      try {
        const found = await getJob(store, id, controller.signal)
        if (controller.signal.aborted) return
        setJob(found)
        setError(undefined)
        if (found.phase === 'done') {
          if (wasRunning) onEnd?.()
          return
        }
        wasRunning = true
        timer = setTimeout(() => void look(), document.hidden || found.scannedFiles > LARGE ? 5 * POLL_MS : POLL_MS)
      } catch (failure) {
        if (isAbort(failure) || controller.signal.aborted) return
        setError(failure)
        if (mayPass(failure)) timer = setTimeout(() => void look(), 5 * POLL_MS)
      }
    }
    void look()
    return () => {
      controller.abort()
      clearTimeout(timer)
    }
  }, [store, id, round])
  return { job, error, set: setJob, reload: () => setRound((old) => old + 1) }
}
