import { ArrowRight, Copy, Pencil, Trash2, Undo2, X } from 'lucide-preact'
import { Button, ButtonLink, IconButton } from '../../ui/Button'
import { Copyable } from '../../ui/Copyable'
import { Fact, Facts } from '../../ui/Facts'
import { Badge, Notice } from '../../ui/States'
import { bytes, count, dicomDate, dicomTime } from '../../ui/format'
import { type Dictionary, isPrivate, shownTag } from '../../dicom/dictionary'
import { BINARY, isSequence, nameGroups, stringify, textOf } from '../../dicom/values'
import type { Overview } from './api'
import { ranges } from './diff'
import { type Edit, whyFixed } from './edits'
import { type Hit, type Place, type Row, shownKey, shownPath } from './metadata'
import { viewerOf } from './OverviewTab'
import { syntaxName } from './syntaxes'

interface Props {
  row: Row | null
  hit: Hit | null
  store: string
  data: Overview
  dictionary: Dictionary
  mayEdit: boolean
  edit: Edit | undefined
  /** Copies the image set, where that is the way to change it. */
  onCopy?: () => void
  onReveal: (place: Place) => void
  onClose: () => void
  onChange: (place: Place, key: string) => void
  onEdit: (edit: Edit) => void
  onUndo: (edit: Edit) => void
}

const LONG = 4000

/** Everything about the row that is active, and what can be done with it. */
export function Detail({ row, hit, store, data, dictionary, mayEdit, edit, onCopy, onReveal, onClose, onChange, onEdit, onUndo }: Props) {
  const close = <IconButton label="Close details" onClick={onClose}><X /></IconButton>
  if (hit !== null) {
    return (
      <aside class="detail" aria-label="Details">
        <div class="spread"><h2>{shownKey(String(hit.path.at(-1)))}</h2>{close}</div>
        <Value vr={hit.vr} value={hit.value} />
        <Facts look="narrow"><Fact name="Tag">{shownTag(hit.tag)}</Fact><Fact name="VR">{hit.vr}</Fact><Fact name="Where">{hit.level !== 'Instance' ? hit.level : hit.instances === 1 ? `Instance ${hit.number || hit.instance}` : `${count(hit.instances, 'instance')}: ${ranges(hit.numbers)}`}{hit.path.length > 1 ? `, ${shownPath(hit.path.slice(0, -1))}` : ''}</Fact></Facts>
        <Button icon={<ArrowRight />} onClick={() => onReveal({ level: hit.level, instance: hit.instance, path: hit.path })}>{hit.instances > 1 ? 'Show the first' : 'Show'} in the tree</Button>
      </aside>
    )
  }
  if (row === null) return null
  if (row.kind === 'instance') {
    const { uid, number, frames, elements } = row.instance
    const gone = edit?.action === 'remove-instance'
    return (
      <aside class="detail" aria-label="Details">
        <div class="spread"><h2>{number === '' ? 'Instance' : `Instance ${number}`}</h2>{close}</div>
        <Facts look="narrow"><Fact name="UID"><Copyable text={uid} label="Copy the SOP Instance UID" /></Fact><Fact name="Attributes">{count(elements)}</Fact><Fact name="Frames">{count(frames)}</Fact></Facts>
        <div class="row-wrap">
          {frames > 0 && <ButtonLink href={viewerOf(store, data)}>Open viewer</ButtonLink>}
          {mayEdit && !gone && data.instanceCount > 1 && <Button icon={<Trash2 />} onClick={() => onEdit({ action: 'remove-instance', level: 'Instance', instance: uid, number })}>Remove instance</Button>}
          {edit !== undefined && <Button icon={<Undo2 />} onClick={() => onUndo(edit)}>Keep instance</Button>}
        </div>
        {gone && <Notice look="warn">Will be removed from the image set. Older versions keep it.</Notice>}
      </aside>
    )
  }
  if (row.kind === 'frame') {
    const size = row.frame.PixelDataChecksumFromBaseToFullResolution?.at(-1)
    return (
      <aside class="detail" aria-label="Details">
        <div class="spread"><h2>Frame {row.index + 1}</h2>{close}</div>
        <Facts look="narrow">
          <Fact name="Frame ID"><Copyable text={row.frame.ID} label="Copy the image frame ID" /></Fact>
          <Fact name="Size">{size === undefined ? '' : `${size.Width} × ${size.Height}`}</Fact>
          <Fact name="Stored">{bytes(row.frame.FrameSizeInBytes)}</Fact>
          <Fact name="Values">{row.frame.MinPixelValue === null ? 'not known' : `${row.frame.MinPixelValue} to ${row.frame.MaxPixelValue}`}</Fact>
          <Fact name="CRC-32">{size === undefined ? '' : size.Checksum.toString(16).padStart(8, '0')}</Fact>
        </Facts>
      </aside>
    )
  }
  if (row.kind !== 'element') return null
  const attribute = dictionary.of(row.key)
  const isTop = row.at.path.length === 1
  const place = row.at
  const why = isTop ? whyFixed(row.key, place.level, data.isPrimary, dictionary, row.vr) : 'To change an attribute inside a sequence, change the whole sequence.'
  const value = edit?.action === 'set' ? edit.value : row.value
  return (
    <aside class="detail" aria-label="Details">
      <div class="spread"><h2>{shownKey(row.key)}</h2>{close}</div>
      {edit?.action === 'remove' ? <Notice look="warn">Will be removed.</Notice> : <Value vr={row.vr} value={value} />}
      {edit?.action === 'set' && <Notice look="warn">Not applied yet. Now: {textOf(row.value) || 'empty'}</Notice>}
      <Facts look="narrow">
        <Fact name="Tag">{shownTag(row.tag)}</Fact>
        <Fact name="VR">{row.vr || 'unknown'}</Fact>
        <Fact name="Level">{place.level}{isPrivate(row.tag) && <> <Badge>private</Badge></>}</Fact>
        {place.path.length > 1 && <Fact name="Where">{shownPath(place.path.slice(0, -1))}</Fact>}
        {attribute.isMultiple && <Fact name="Values">{count(Array.isArray(row.value) ? row.value.length : row.value === null ? 0 : 1)}</Fact>}
      </Facts>
      {mayEdit && why === null && (
        <div class="row-wrap">
          {edit !== undefined && <Button icon={<Undo2 />} onClick={() => onUndo(edit)}>Undo</Button>}
          <Button icon={<Pencil />} onClick={() => onChange(place, row.key)}>Change</Button>
          {edit?.action !== 'remove' && <Button icon={<Trash2 />} onClick={() => onEdit({ action: 'remove', level: place.level, instance: place.instance, key: row.key, vr: row.vr, old: row.value })}>Remove</Button>}
        </div>
      )}
      {mayEdit && why !== null && <p class="faint small">{why}</p>}
      {mayEdit && onCopy !== undefined && data.isPrimary && why !== null && isTop && (place.level === 'Patient' || place.level === 'Series') && <div><Button icon={<Copy />} onClick={onCopy}>Copy to change it</Button></div>}
    </aside>
  )
}

/** A value at length: what people read first, then as it is stored. */
function Value({ vr, value }: { vr: string; value: unknown }) {
  const raw = isSequence(value) ? stringify(value) : textOf(value)
  if (raw === '') return <p class="faint">Empty</p>
  if (isSequence(value)) return <p class="soft">{count(value.length, 'item')}</p>
  const readable = vr === 'PN' ? null : vr === 'DA' ? dicomDate(raw) : vr === 'TM' ? dicomTime(raw) : vr === 'UI' ? syntaxName(raw) : raw
  const isBinary = BINARY.has(vr)
  return (
    <div class="stack-tight">
      {vr === 'PN' && nameGroups(raw).map((group) => <div key={group.label}>{group.text} {raw.includes('=') && <span class="faint small">{group.label}</span>}</div>)}
      {readable !== null && readable !== raw && <div>{readable}</div>}
      {isBinary && <div class="faint small">{bytes(Math.floor((raw.replace(/=+$/, '').length * 3) / 4))}, in base64</div>}
      <pre class="raw" tabIndex={0}>{raw.slice(0, LONG)}{raw.length > LONG && '…'}</pre>
    </div>
  )
}
