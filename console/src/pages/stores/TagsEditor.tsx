import { Plus, X } from 'lucide-preact'
import { Button, IconButton } from '../../ui/Button'
import { TextField } from '../../ui/Fields'
import { type TagRow, fault } from './tags'

/** Keys and values, one pair a row. */
export function TagsEditor({ rows, onRows }: { rows: TagRow[]; onRows: (rows: TagRow[]) => void }) {
  const set = (index: number, change: Partial<TagRow>) => onRows(rows.map((row, i) => (i === index ? { ...row, ...change } : row)))
  return (
    <div class="tags-editor">
      {rows.map((row, index) => {
        const error = fault(row, rows)
        return (
          <div class="tag-row" key={index}>
            <TextField label={`Key ${index + 1}`} hideLabel placeholder="Key" value={row.key} error={error} onValue={(key) => set(index, { key })} />
            <TextField label={`Value ${index + 1}`} hideLabel placeholder="Value" value={row.value} onValue={(value) => set(index, { value })} />
            <IconButton label={`Remove tag ${row.key || index + 1}`} onClick={() => onRows(rows.filter((_, i) => i !== index))}><X /></IconButton>
          </div>
        )
      })}
      <div><Button look="quiet" icon={<Plus />} disabled={rows.length >= 50} onClick={() => onRows([...rows, { key: '', value: '' }])}>Add a tag</Button></div>
    </div>
  )
}
