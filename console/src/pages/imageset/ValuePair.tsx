import { bytes } from '../../ui/format'
import { textOf } from '../../dicom/values'
import { type ElementDiff, type Piece, pathParts, pieces } from './diff'
import { shownKey } from './metadata'

/** An attribute with its old and its new value side by side, below each other where there is no room. */
export function ValuePair({ diff }: { diff: ElementDiff }) {
  const { above, key } = pathParts(diff.element)
  const isText = 'old' in diff && 'new' in diff && diff.oldLength === undefined && diff.newLength === undefined
  const cut = isText ? pieces(textOf(diff.old), textOf(diff.new)) : null
  return (
    <div class="diff-row">
      <div class="key">
        {above !== '' && <span class="above">{above}</span>}
        {shownKey(key)} <span class="faint small">{diff.oldVr === undefined ? diff.vr : `${diff.oldVr} → ${diff.vr}`}</span>
      </div>
      <Value side="old" diff={diff} pieces={cut?.old} />
      <Value side="new" diff={diff} pieces={cut?.now} />
    </div>
  )
}

function Value({ side, diff, pieces: parts }: { side: 'old' | 'new'; diff: ElementDiff; pieces?: Piece[] }) {
  if (!(side in diff)) return <div class="diff-value none">{side === 'old' ? 'not there' : 'removed'}</div>
  const value = diff[side]
  const length = diff[`${side}Length`]
  const text = Array.isArray(value) && value.some((each) => typeof each === 'object' && each !== null) ? JSON.stringify(value, null, 1) : textOf(value)
  return (
    <div class={`diff-value ${side}`}>
      <span class="visually-hidden">{side === 'old' ? 'Old: ' : 'New: '}</span>
      {text === '' ? <span class="faint">empty</span> : parts === undefined || parts.every((each) => each.isChanged) || text !== parts.map((each) => each.text).join('') ? text : parts.map((each, index) => (each.isChanged ? <mark key={index}>{each.text}</mark> : <span key={index}>{each.text}</span>))}
      {length !== undefined && <span class="faint">… {bytes(length)} in all</span>}
    </div>
  )
}

export function ValueLabels({ old, now }: { old: string; now: string }) {
  return (
    <div class="diff-labels" aria-hidden="true">
      <span>Attribute</span>
      <span>{old}</span>
      <span>{now}</span>
    </div>
  )
}
