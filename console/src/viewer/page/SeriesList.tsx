// The series of the study with small pictures. Click, Enter, or drag puts one into a viewport.

import { signal } from '@preact/signals'
import { Button } from '../../ui/Button'
import { Badge, Notice, Skeleton } from '../../ui/States'
import { explain } from '../../api/errors'
import { dicomDate, personName } from '../../ui/format'
import type { DisplaySet } from '../model/displaySets'
import { Thumbnail } from './Thumbnail'
import { areOfOnePatient } from './seriesOrder'
import { MOST_SETS } from '../source'
import type { ViewerState } from './viewerState'

/** The set that is being dragged. */
export const dragged = signal<string | undefined>(undefined)

export function SeriesList({ viewer, placed }: { viewer: ViewerState; placed: () => void }) {
  const sets = viewer.sets.value
  // Image sets of a study may name different patients: the head is about what is looked at.
  const study = (viewer.activeSet.value?.series ?? viewer.series.value[0])?.attributes
  const isOnePatient = areOfOnePatient(viewer.series.value)
  const shown = new Set(viewer.visibleCells.value)
  return (
    <nav class="series-list" aria-label="Series">
      {study && (
        <div class="study-head">
          <strong class="ellipsis">{personName(study.text('PatientName')) || 'No name'}</strong>
          <span class="soft small ellipsis">{study.text('PatientID')}</span>
          <span class="soft small">{study.text('StudyDescription')}</span>
          <span class="faint small">{dicomDate(study.text('StudyDate'))}</span>
        </div>
      )}
      {viewer.origin.version !== undefined && (
        <Notice look="warn">
          This is version {viewer.origin.version} of the image set; other series are shown in their latest. What the server makes of the latest version alone, such as
          documents, is left out if this is another.
        </Notice>
      )}
      <ul>
        {sets.map((set) => (
          <li key={set.id}>
            <button
              type="button"
              class="series"
              aria-current={viewer.activeSet.value === set ? 'true' : undefined}
              data-shown={shown.has(set)}
              draggable
              onDragStart={(event) => {
                dragged.value = set.id
                // A number of our own: what is dragged out of the window says nothing of a patient.
                event.dataTransfer?.setData('text/plain', 'series')
              }}
              onDragEnd={() => (dragged.value = undefined)}
              onClick={() => {
                viewer.place(viewer.active.value, set)
                placed()
              }}
            >
              <Thumbnail set={set} viewer={viewer} />
              <span class="series-text">
                <span class="series-name">{nameOf(set)}</span>
                <span class="soft small number">{aboutOf(set)}</span>
                {!isOnePatient && <span class="small">{patientOf(set)}</span>}
                {viewer.nonPrimary.value.has(set.series.origin.imageSetId) && <Badge look="warn">not primary</Badge>}
              </span>
            </button>
          </li>
        ))}
      </ul>
      {(sets.length === 0 || viewer.isLoadingRest.value) && viewer.error.value === undefined && <Skeleton lines={3} />}
      {viewer.isRestCut.value && <Notice look="warn">The study may have more: at most {MOST_SETS} image sets are listed.</Notice>}
      {viewer.restError.value !== undefined && (
        <div class="stack-tight">
          <Notice look="bad">Other series of this study are missing: {explain(viewer.restError.value)}</Notice>
          <Button onClick={() => viewer.reloadRest()}>Try again</Button>
        </div>
      )}
    </nav>
  )
}

export function nameOf(set: DisplaySet): string {
  const { attributes } = set.series
  const own = set.instances[0]?.attributes
  return attributes.text('SeriesDescription') || own?.text('ProtocolName') || `Series ${attributes.text('SeriesNumber') || 'without number'}`
}

function patientOf({ series: { attributes } }: DisplaySet): string {
  return [personName(attributes.text('PatientName')) || 'No name', attributes.text('PatientID')].filter(Boolean).join(' · ')
}

function aboutOf(set: DisplaySet): string {
  const { attributes } = set.series
  const count = set.kind === 'slide' ? 'slide' : set.kind === 'multiframe' ? `${set.frames.length} frames` : set.frames.length > 0 ? images(set.frames.length) : objects(set.instances.length)
  const number = attributes.text('SeriesNumber')
  return [attributes.text('Modality'), number && `#${number}`, count].filter(Boolean).join(' · ')
}

const images = (count: number): string => (count === 1 ? '1 image' : `${count} images`)
const objects = (count: number): string => (count === 1 ? '1 object' : `${count} objects`)
