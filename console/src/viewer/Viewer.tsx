// The viewer: one study in the whole window. Loaded apart from the console's pages.

import { useEffect, useMemo, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { ErrorState } from '../ui/States'
import { consoleSource } from './consoleSource'
import './displays'
import { FileDrop } from './page/FileDrop'
import { Grid } from './page/Grid'
import { Help } from './page/Help'
import { SeriesList } from './page/SeriesList'
import { TagBrowser } from './page/TagBrowser'
import { Toolbar } from './page/Toolbar'
import { useKeys } from './page/keys'
import { ViewerState, decoders } from './page/viewerState'
import './page/viewer.css'

export default function Viewer({ store, imageSet }: { store: string; imageSet: string }) {
  const { query } = useLocation()
  const version = query['version'] || undefined
  const viewer = useMemo(
    () => new ViewerState(consoleSource, { datastoreId: store, imageSetId: imageSet, version }),
    [store, imageSet, version]
  )
  useEffect(() => {
    void viewer.load()
    return () => viewer.close()
  }, [viewer])
  return <Page viewer={viewer} key={`${imageSet}/${version}`} />
}

function Page({ viewer }: { viewer: ViewerState }) {
  const [isListOpen, setListOpen] = useState(false)
  const [isHelpOpen, setHelpOpen] = useState(false)
  const [areTagsOpen, setTagsOpen] = useState(false)
  useKeys(viewer, { help: () => setHelpOpen(true), tags: () => setTagsOpen((open) => !open) })
  return (
    <div class={`viewer ${isListOpen ? 'list-open' : ''}`}>
      <Toolbar
        viewer={viewer}
        isListOpen={isListOpen}
        toggleList={() => setListOpen(!isListOpen)}
        openHelp={() => setHelpOpen(true)}
        areTagsOpen={areTagsOpen}
        toggleTags={() => setTagsOpen(!areTagsOpen)}
      />
      <SeriesList viewer={viewer} placed={() => setListOpen(false)} />
      <button class="viewer-scrim" tabIndex={-1} aria-hidden="true" onClick={() => setListOpen(false)} />
      <main class="viewer-main">
        <h1 class="visually-hidden">Viewer</h1>
        {viewer.error.value !== undefined ? (
          <ErrorState error={viewer.error.value} retry={() => void viewer.load()} title="This study cannot be opened" />
        ) : (
          <Grid viewer={viewer} />
        )}
      </main>
      {areTagsOpen && <TagBrowser viewer={viewer} close={() => setTagsOpen(false)} />}
      <FileDrop />
      {isHelpOpen && <Help close={() => setHelpOpen(false)} />}
    </div>
  )
}

/** Loads the decoders before a study is opened. */
export function warmUp(): void {
  decoders()
}
