import { Upload } from 'lucide-preact'
import { Progress } from '../ui/States'
import { runs } from './runs'
import './uploads.css'

/** In the header: the imports that go on while pages change. */
export function UploadIndicator() {
  const active = runs.value.filter((run) => !['done', 'empty'].includes(run.phase.value) && !(run.phase.value === 'failed' && run.job.value?.phase === 'done'))
  const [first] = active
  if (first === undefined) return null
  const sending = active.filter((run) => run.jobId.value === null)
  const total = sending.reduce((sum, run) => sum + run.bytes.value, 0)
  const sent = sending.reduce((sum, run) => sum + run.sentBytes.value, 0)
  const isBad = active.some((run) => ['failed', 'incomplete', 'unwatched'].includes(run.phase.value))
  const percent = total > 0 ? Math.floor((100 * sent) / total) : null
  const words = isBad ? 'Import needs you' : sending.length === 0 ? 'Importing' : percent === null ? 'Looking' : `Sending ${percent} %`
  return (
    <a class={`upload-indicator small ${isBad ? 'bad' : ''}`} href={`/console/stores/${first.store}/import`} data-testid="upload-indicator">
      <Upload aria-hidden="true" />
      <span>{words}</span>
      {percent !== null && <Progress label="Sent" value={percent} max={100} />}
    </a>
  )
}
