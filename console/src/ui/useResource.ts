import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { isAbort } from '../api/errors'

export interface Resource<T> {
  data: T | undefined
  error: unknown
  isLoading: boolean
  reload: () => void
  /** Show this until the next load, e.g. after a change whose result is known. */
  set: (data: T) => void
}

/**
 * What `load` gives, loaded again whenever `inputs` change; a load that is overtaken is aborted and its answer dropped.
 * Data of the same inputs stay while they are loaded again; of other inputs they do not.
 */
export function useResource<T>(load: (signal: AbortSignal) => Promise<T>, inputs: readonly unknown[]): Resource<T> {
  const [state, setState] = useState<{ data: T | undefined; error: unknown; isLoading: boolean }>({
    data: undefined,
    error: undefined,
    isLoading: true
  })
  const [round, setRound] = useState(0)
  const last = useRef<readonly unknown[]>()
  useEffect(() => {
    const controller = new AbortController()
    const isSame = last.current !== undefined && last.current.length === inputs.length && last.current.every((each, i) => Object.is(each, inputs[i]))
    last.current = inputs
    setState((old) => ({ data: isSame ? old.data : undefined, error: undefined, isLoading: true }))
    load(controller.signal).then(
      (data) => {
        if (!controller.signal.aborted) setState({ data, error: undefined, isLoading: false })
      },
      (error: unknown) => {
        if (!controller.signal.aborted && !isAbort(error)) setState((old) => ({ data: old.data, error, isLoading: false }))
      }
    )
    return () => controller.abort()
  }, [...inputs, round])
  const reload = useCallback(() => setRound((old) => old + 1), [])
  const set = useCallback((data: T) => setState({ data, error: undefined, isLoading: false }), [])
  return { ...state, reload, set }
}
