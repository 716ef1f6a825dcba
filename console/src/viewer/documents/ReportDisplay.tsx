// Structured reports and key object selections.

import { useMemo } from 'preact/hooks'
import type { Instance } from '../model/document'
import type { ViewerState } from '../page/viewerState'
import type { DisplayProps } from '../registry'
import { Badge, Notice } from '../../ui/States'
import { Pages } from './Pages'
import { type ReportLine, placeOf, readReport } from './report'

export default function ReportDisplay({ set, viewer }: DisplayProps) {
  return <Pages instances={set.instances}>{(instance) => <Report key={instance.uid} instance={instance} viewer={viewer} own={set.series.origin.imageSetId} />}</Pages>
}

function Report({ instance, viewer, own }: { instance: Instance; viewer: ViewerState; own: string }) {
  const report = useMemo(() => readReport(instance.attributes.layers[0] ?? {}), [instance])
  return (
    <article class="report" tabIndex={0} data-testid="report">
      <h2>{report.title}</h2>
      <div class="row-wrap">
        <Badge look={report.isComplete ? 'plain' : 'warn'}>{report.isComplete ? 'complete' : 'not complete'}</Badge>
        <Badge look={report.isVerified ? 'good' : 'warn'}>{report.isVerified ? 'verified' : 'not verified'}</Badge>
        {report.isPreliminary && <Badge look="warn">preliminary</Badge>}
      </div>
      {report.isCut && <Notice look="warn">The report is longer than what is shown here. Download it to read all of it.</Notice>}
      <Lines lines={report.lines} level={3} viewer={viewer} own={own} />
    </article>
  )
}

function Lines({ lines, level, viewer, own }: { lines: readonly ReportLine[]; level: number; viewer: ViewerState; own: string }) {
  return (
    <ul>
      {lines.map((line, index) => (
        <li key={index}>
          {line.isHeading ? (
            <div class="report-heading" role="heading" aria-level={Math.min(level, 6)}>{line.name || 'Section'}</div>
          ) : (
            <p>
              {line.name && <span class="soft">{line.name}: </span>}
              {line.reference === undefined ? <span class="report-value">{line.value}</span> : <Reference line={line} viewer={viewer} own={own} />}
            </p>
          )}
          {line.lines.length > 0 && <Lines lines={line.lines} level={level + 1} viewer={viewer} own={own} />}
        </li>
      ))}
    </ul>
  )
}

/** What a report refers to; opened in the viewport where the study has it. */
function Reference({ line, viewer, own }: { line: ReportLine; viewer: ViewerState; own: string }) {
  const place = placeOf(line.reference, viewer.sets.value, own)
  const frames = line.reference?.frames ?? []
  const words = `${line.value}${frames.length === 0 ? '' : `, ${frames.length === 1 ? 'frame' : 'frames'} ${frames.join(', ')}`}`
  if (place === undefined) return <span class="report-value">{words} (not in this study)</span>
  return <button type="button" class="report-link" onClick={() => viewer.place(viewer.active.value, place.set, place.index)}>{words}: {place.set.series.attributes.text('SeriesDescription') || 'show its series'}</button>
}
