import { Progress } from '../ui/States'
import { count } from '../ui/format'
import './uploads.css'

/** One bar with its name and numbers, as `lightwell import` has them. Without a total its end is not known yet. */
export function Bar({ name, done, total, detail, look = 'plain' }: { name: string; done: number; total: number | null; detail?: string; look?: 'plain' | 'good' | 'bad' }) {
  const isKnown = total !== null && total > 0
  return (
    <div class="bar-line">
      <span class="bar-name">{name}</span>
      <Progress label={name} value={isKnown ? Math.min(done, total) : total === null ? undefined : 0} max={isKnown ? total : 1} look={look} />
      <span class="number bar-count">{isKnown ? `${count(done)} of ${count(total)}` : done > 0 ? count(done) : ''}</span>
      {detail && <span class="faint small bar-detail">{detail}</span>}
    </div>
  )
}
