// The attributes of the instance that the active viewport shows.

import { useMemo, useState } from 'preact/hooks'
import { X } from 'lucide-preact'
import { IconButton } from '../../ui/Button'
import { SearchField } from '../../ui/Fields'
import type { ViewerState } from './viewerState'
import { MOST_LINES, tagLines } from './tags'

export function TagBrowser({ viewer, close }: { viewer: ViewerState; close: () => void }) {
  const [search, setSearch] = useState('')
  const instance = viewer.activeStack.value?.shown.value?.instance ?? viewer.activeSet.value?.instances[0]
  const lines = useMemo(() => (instance ? tagLines(instance) : []), [instance])
  const wanted = search.trim().toLowerCase()
  const found = wanted === '' ? lines : lines.filter(({ keyword, value }) => `${keyword} ${value}`.toLowerCase().includes(wanted))
  return (
    <aside class="tags" aria-label="Attributes of the image" onKeyDown={(event) => event.key === 'Escape' && close()}>
      <header class="spread">
        <h2>Attributes</h2>
        <IconButton label="Close the attributes" onClick={close}><X /></IconButton>
      </header>
      <SearchField label="Search attributes" value={search} onValue={setSearch} placeholder="Name or value" />
      <div class="tag-list" tabIndex={0} role="group" aria-label="List of attributes">
        {lines.length >= MOST_LINES && <p class="soft small">Only the first {MOST_LINES.toLocaleString('en')} lines are listed and searched.</p>}
        {found.length === 0 && <p class="soft small">{instance ? lines.length >= MOST_LINES ? 'No line that is listed has this in its name or value.' : 'No attribute has this in its name or value.' : 'There is no image.'}</p>}
        <table>
          <tbody>
            {found.map((line, i) => (
              <tr key={i}>
                {line.level !== found[i - 1]?.level && <td class="tag-level">{line.level}</td>}
                <th scope="row" class={`depth-${Math.min(line.depth, 6)}`}>{line.keyword}</th>
                <td>{line.value}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </aside>
  )
}
