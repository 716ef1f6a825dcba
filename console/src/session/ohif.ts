// OHIF beside the console: the session is handed on as a token that opens one data store, in the fragment of the
// address, which browsers do not send.

import { session } from './session'
import { call } from '../api/consoleApi'
import { explain } from '../api/errors'
import { toast } from '../ui/Toasts'

interface ViewerToken {
  token: string
  expiresAt: string
  mayStore: boolean
}

const ID = /^[0-9a-z]{32}$/

function viewerToken(datastoreId: string): Promise<ViewerToken> {
  return call<ViewerToken>(`datastores/${datastoreId}/viewer-token`, { body: {} })
}

/** Opens OHIF in a new tab, at a study or at the list of studies. Must be called by a click. */
export async function openOhif(datastoreId: string, studyInstanceUid?: string): Promise<void> {
  // Before anything is waited for, or the browser takes it for a pop-up.
  const tab = window.open('', '_blank')
  try {
    const { token } = await viewerToken(datastoreId)
    const study = studyInstanceUid === undefined ? '' : `&study=${encodeURIComponent(studyInstanceUid)}`
    const address = `/ohif/#token=${token}${study}`
    if (tab === null) location.assign(address)
    else tab.location.replace(address)
  } catch (error) {
    tab?.close()
    toast(explain(error), 'bad')
  }
}

/** Answers tabs with OHIF that were opened from here and whose token has expired, as while the computer slept. */
export function answerViewers(): void {
  addEventListener('message', (event: MessageEvent<unknown>) => {
    if (event.origin !== location.origin || session.value === null || event.source === null) return
    const asked = event.data as { type?: unknown; datastore?: unknown } | null
    if (asked?.type !== 'lightwell-token-wanted' || typeof asked.datastore !== 'string' || !ID.test(asked.datastore)) return
    const source = event.source
    viewerToken(asked.datastore).then(
      ({ token }) => source.postMessage({ type: 'lightwell-token', token }, { targetOrigin: location.origin }),
      () => undefined
    )
  })
}
