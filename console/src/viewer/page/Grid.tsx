// The grid of viewports. Each holds the display that is registered for what is in it.

import type { DisplaySet } from '../model/displaySets'
import type { ViewerState } from './viewerState'
import { displayFor } from '../registry'
import { EmptyState } from '../../ui/States'
import { FileQuestion, LayoutGrid } from 'lucide-preact'
import { dragged } from './SeriesList'

export function Grid({ viewer }: { viewer: ViewerState }) {
  const { rows, columns } = viewer.layout.value
  const cells = viewer.cells.value
  const isSingle = viewer.isSingle.value
  const isGrid = rows * columns > 1 && !isSingle
  return (
    <div class={isSingle ? 'grid rows-1 columns-1' : `grid rows-${rows} columns-${columns}`}>
      {Array.from({ length: rows * columns }, (_, cell) => {
        const set = cells[cell]
        const isActive = viewer.active.value === cell
        const display = set && displayFor(set)
        const Component = display?.component
        return (
          <section
            key={cell}
            class={`cell ${isActive && isGrid ? 'active' : ''}`}
            hidden={isSingle && !isActive}
            aria-label={`Viewport ${cell + 1}`}
            onPointerDownCapture={() => (viewer.active.value = cell)}
            onFocusCapture={() => (viewer.active.value = cell)}
            onDragOver={(event) => event.preventDefault()}
            onDrop={(event) => {
              event.preventDefault()
              const found = viewer.sets.value.find(({ id }) => id === dragged.value)
              if (found) viewer.place(cell, found)
            }}
          >
            {set && Component ? (
              <>
                <Component key={set.id} set={set} viewer={viewer} cell={cell} isActive={isActive} />
                {set.series.origin.version !== undefined && !saysVersion(set, viewer) && <p class="cell-version" data-testid="version">Version {set.series.origin.version}</p>}
              </>
            ) : set ? (
              <EmptyState icon={<FileQuestion />} title="There is no display for this yet">
                {`${set.series.attributes.text('Modality') || 'This object'} can be downloaded, and its attributes can be read here.`}
              </EmptyState>
            ) : viewer.series.value.length > 0 ? (
              <EmptyState icon={<LayoutGrid />} title="Nothing here">Drag a series here, or select this viewport and choose one.</EmptyState>
            ) : null}
          </section>
        )
      })}
    </div>
  )
}

/** Whether the texts on the image say it, as those of stacks do while they are shown. */
function saysVersion(set: DisplaySet, viewer: ViewerState): boolean {
  return (set.kind === 'stack' || set.kind === 'multiframe') && viewer.hasText.value
}
