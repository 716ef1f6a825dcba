// The studies on show: pages one after another, of the newest question only.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { isAbort } from '../../api/errors'
import { type Study, type StudyPage, type StudyQuery, listStudies } from '../../api/studies'

export const PAGE = 40
/** So many are shown at most; who wants to see more of them has to narrow the search. */
export const MOST_SHOWN = 2000
/** So many pages without a study are skipped before the person is asked whether to go on. */
const EMPTY_PAGES = 12

export interface StudyList {
  studies: Study[]
  isLoading: boolean
  /** Whether what is shown is of a question before, and the answer to the newest is still awaited. */
  isStale: boolean
  error: unknown
  hasMore: boolean
  /** There is more, but the server has looked at very many without finding one. */
  isPaused: boolean
  total: number | null
  sortedWithin: number | null
  nonPrimaryWithin: number | null
  more: () => void
  reload: () => void
}

interface State {
  studies: Study[]
  nextToken: string | null
  isLoading: boolean
  isStale: boolean
  isPaused: boolean
  error: unknown
  total: number | null
  sortedWithin: number | null
  nonPrimaryWithin: number | null
}

const NOTHING: State = { studies: [], nextToken: null, isLoading: true, isStale: false, isPaused: false, error: undefined, total: null, sortedWithin: null, nonPrimaryWithin: null }

/** What follows what is shown: a study may have moved, and what leads a first page follows once more. */
export function joined(shown: Study[], following: Study[]): Study[] {
  const seen = new Set(shown.map((each) => each.studyInstanceUid))
  return [...shown, ...following.filter((each) => !seen.has(each.studyInstanceUid))]
}

export function useStudies(store: string, query: StudyQuery): StudyList {
  const [state, setState] = useState<State>(NOTHING)
  const [round, setRound] = useState(0)
  const controller = useRef<AbortController>()
  const latest = useRef(state)
  latest.current = state
  const asked = JSON.stringify([store, query])

  const load = useCallback(
    async (shown: Study[], nextToken: string | null) => {
      controller.current?.abort()
      const own = (controller.current = new AbortController())
      setState((old) => ({ ...old, isLoading: true, isPaused: false, error: undefined, isStale: nextToken === null && old.studies.length > 0 }))
      try {
        let page: StudyPage
        let token = nextToken
        let empty = 0
        do {
          page = await listStudies(store, query, { nextToken: token, maxResults: PAGE, signal: own.signal })
          token = page.nextToken
          empty++
        } while (page.studies.length === 0 && token !== null && empty < EMPTY_PAGES)
        if (own.signal.aborted) return
        const studies = joined(shown, page.studies)
        // A later page may not count again.
        const total = page.total ?? (nextToken === null ? null : latest.current.total)
        setState({ ...page, total, studies, nextToken: token, isLoading: false, isStale: false, isPaused: page.studies.length === 0 && token !== null, error: undefined })
      } catch (error) {
        if (own.signal.aborted || isAbort(error)) return
        setState((old) => ({ ...old, isLoading: false, error }))
      }
    },
    [asked]
  )

  useEffect(() => {
    void load([], null)
    return () => controller.current?.abort()
  }, [load, round])

  const more = useCallback(() => {
    const { studies, nextToken, isLoading } = latest.current
    if (!isLoading && nextToken !== null && studies.length < MOST_SHOWN) void load(studies, nextToken)
  }, [load])
  const reload = useCallback(() => setRound((old) => old + 1), [])
  return { ...state, hasMore: state.nextToken !== null && state.studies.length < MOST_SHOWN, more, reload }
}
