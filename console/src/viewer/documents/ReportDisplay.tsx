// Structured reports and key object selections.

import { useMemo } from 'preact/hooks'
import type { Instance } from '../model/document'
import type { ViewerState } from '../page/viewerState'
import type { DisplayProps } from '../registry'
import { Badge, Notice } from '../../ui/States'
import { Pages } from './Pages'
import { type ReportLine, readReport } from './report'

export default function ReportDisplay({ set, viewer }: DisplayProps) {
  return <Pages instances={set.instances}>{(instance) => <Report key={instance.uid} instance={instance} viewer={viewer} />}</Pages>
}

function Report({ instance, viewer }: { instance: Instance; viewer: ViewerState }) {
  const report = useMemo(() => readReport(instance.attributes.layers[0] ?? {}), [instance])
  return (
    <article class="report" tabIndex={0} data-testid="report">
      <h2>{report.title}</h2>
      <div class="row-wrap">
        <Badge look={report.isComplete ? 'plain' : 'warn'}>{report.isComplete ? 'complete' : 'not complete'}</Badge>
        <Badge look={report.isVerified ? 'good' : 'warn'}>{report.isVerified ? 'verified' : 'not verified'}</Badge>
      </div>
      {report.isCut && <Notice look="warn">The report is longer than what is shown here. Download it to read all of it.</Notice>}
      <Lines lines={report.lines} level={3} viewer={viewer} />
    </article>
  )
}

function Lines({ lines, level, viewer }: { lines: readonly ReportLine[]; level: number; viewer: ViewerState }) {
  return (
    <ul>
      {lines.map((line, index) => (
        <li key={index}>
          {line.isHeading ? (
            <div class="report-heading" role="heading" aria-level={Math.min(level, 6)}>{line.name || 'Section'}</div>
          ) : (
            <p>
              {line.name && <span class="soft">{line.name}: </span>}
              {line.reference === undefined ? <span class="report-value">{line.value}</span> : <Reference line={line} viewer={viewer} />}
            </p>
          )}
          {line.lines.length > 0 && <Lines lines={line.lines} level={level + 1} viewer={viewer} />}
        </li>
      ))}
    </ul>
  )
}

/** What a report refers to; opened in the viewport where the study has it. */
function Reference({ line, viewer }: { line: ReportLine; viewer: ViewerState }) {
  const uid = line.reference?.uid
  const set = viewer.sets.value.find((one) => one.instances.some((instance) => instance.uid === uid))
  const frame = line.reference?.frame
  const words = `${line.value}${frame === undefined ? '' : `, frame ${frame}`}`
  if (set === undefined) return <span class="report-value">{words} (not in this study)</span>
  return <button type="button" class="report-link" onClick={() => viewer.place(viewer.active.value, set)}>{words}: {set.series.attributes.text('SeriesDescription') || 'show its series'}</button>
}
