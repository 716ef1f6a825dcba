import { useMemo, useState } from 'preact/hooks'
import { Button } from '../../ui/Button'
import { Dialog } from '../../ui/Dialog'
import { SelectField, TextArea, TextField } from '../../ui/Fields'
import { Notice } from '../../ui/States'
import { type Dictionary, type Level, isPrivate, shownTag } from '../../dicom/dictionary'
import { BINARY, isSequence, stringify, textOf, valueOf } from '../../dicom/values'
import { explain } from '../../api/errors'
import type { Overview } from './api'
import { type Edit, whyFixed, withLineEnds } from './edits'
import { type InstanceDocument, type Outline, type Place, shownKey } from './metadata'

interface Props {
  data: Overview
  outline: Outline
  dictionary: Dictionary
  instances: ReadonlyMap<string, InstanceDocument>
  /** The attribute to change; null to add one. */
  target: { place: Place; key: string } | null
  /** The change of it that is not applied yet. */
  pending?: Edit
  /** Where the person is, for a new attribute. */
  near: Place | null
  onEdit: (edit: Edit) => void
  onClose: () => void
}

const MANY_LINES = new Set(['LT', 'ST', 'UT'])

/** Asks for a value of an attribute, new or there already. */
export function EditDialog({ data, outline, dictionary, instances, target, pending, near, onEdit, onClose }: Props) {
  const [key, setKey] = useState(target?.key ?? '')
  const [instance, setInstance] = useState(target?.place.instance ?? near?.instance ?? outline.instances[0]?.uid ?? '')
  const [vr, setVr] = useState('')
  const attribute = useMemo(() => (key === '' ? null : dictionary.of(key.trim())), [key])
  const isNewName = attribute !== null && attribute.tag === ''
  const level: Level = target?.place.level ?? attribute?.level ?? 'Instance'
  const block = level === 'Patient' ? outline.patient : level === 'Study' ? outline.study : level === 'Series' ? outline.series : (instances.get(instance)?.DICOM ?? {})
  const vrs = level === 'Instance' ? instances.get(instance)?.DICOMVRs : undefined
  const name = attribute?.keyword || attribute?.tag || ''
  const old = attribute === null ? undefined : block[name]
  const usedVr = vrs?.[name] ?? (attribute?.vr || vr)
  const isSq = usedVr === 'SQ' || isSequence(old)
  const [text, setText] = useState(() => {
    const value = target === null ? '' : pending?.action === 'set' ? pending.value : block[target.key]
    return isSequence(value) ? pretty(value) : textOf(value)
  })
  const [error, setError] = useState<string | null>(null)
  const isMultiple = (attribute?.isMultiple ?? false) || Array.isArray(old)
  const fixed = attribute === null || isNewName ? null : whyFixed(name, level, data.isPrimary, dictionary, usedVr)
  const needsVr = attribute !== null && !isNewName && attribute.keyword === '' && vrs?.[name] === undefined
  const suggestions = target === null && (attribute === null || isNewName || attribute.keyword !== key) ? dictionary.suggestions(key, 8) : []
  const submit = () => {
    try {
      const value = valueOf(MANY_LINES.has(usedVr) ? withLineEnds(text, old) : text, usedVr, isMultiple)
      onEdit({ action: 'set', level, instance: level === 'Instance' ? instance : null, key: name, vr: usedVr, old, value })
    } catch (failure) {
      setError(explain(failure))
    }
  }
  const isReady = attribute !== null && !isNewName && fixed === null && (!needsVr || vr !== '')
  return (
    <Dialog
      title={target === null ? 'Add an attribute' : `Change ${shownKey(target.key)}`}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" disabled={!isReady} onClick={submit}>Keep for the preview</Button>
        </>
      }
    >
      <form class="stack" onSubmit={(event) => { event.preventDefault(); if (isReady) submit() }}>
        {target === null && (
          <div class="stack-tight">
            <TextField label="Attribute" hint="Its keyword or tag, such as StudyDescription or 0008,1030." value={key} onValue={(value) => setKey(keyOf(value, dictionary))} autofocus />
            {suggestions.length > 0 && (
              <div class="suggestions" role="list" aria-label="Attributes">
                {suggestions.map((each) => (
                  <div role="listitem" key={each.tag}>
                    <button type="button" onClick={() => setKey(each.keyword)}>
                      <span class="grow">{each.keyword}</span>
                      <code class="faint small">{shownTag(each.tag)} {each.vr}</code>
                    </button>
                  </div>
                ))}
              </div>
            )}
          </div>
        )}
        {attribute !== null && !isNewName && (
          <>
            <p class="soft small">{level} level · {shownTag(attribute.tag)} · {usedVr || 'VR unknown'}{isPrivate(attribute.tag) ? ' · private' : ''}</p>
            {level === 'Instance' && target === null && (
              <SelectField label="Instance" value={instance} onValue={setInstance} options={outline.instances.slice(0, 2000).map((each) => ({ value: each.uid, label: each.number === '' ? each.uid : `${each.number} · ${each.uid}` }))} />
            )}
            {needsVr && <TextField label="VR" hint="Two letters, such as LO. The dictionary does not know this element." value={vr} maxLength={2} onValue={(value) => setVr(value.toUpperCase())} />}
            {fixed !== null ? (
              <Notice look="warn">{fixed}</Notice>
            ) : isSq || MANY_LINES.has(usedVr) || usedVr === 'UC' || BINARY.has(usedVr) ? (
              <TextArea label="Value" hint={isSq ? 'The items as JSON: [{"CodeValue": "…"}]' : BINARY.has(usedVr) ? 'In base64.' : undefined} value={text} onValue={setText} error={error} rows={isSq ? 12 : 5} />
            ) : (
              <TextField label="Value" hint={hintOf(usedVr, isMultiple)} value={text} onValue={setText} error={error} autofocus={target !== null} />
            )}
            {target === null && old !== undefined && <Notice>It is there already: {textOf(old) || 'empty'}</Notice>}
          </>
        )}
      </form>
    </Dialog>
  )
}

/** A tag in any spelling as the key of the metadata. */
function keyOf(text: string, dictionary: Dictionary): string {
  const digits = /^\(?([0-9a-f]{4}),?\s?([0-9a-f]{4})\)?$/i.exec(text.trim())
  if (digits === null) return text.trimStart()
  const tag = `${digits[1]}${digits[2]}`.toUpperCase()
  return dictionary.tagged(tag)?.keyword ?? tag
}

function hintOf(vr: string, isMultiple: boolean): string | undefined {
  const of: Record<string, string> = {
    PN: 'Family^Given^Middle^Prefix^Suffix; further groups, such as ideographic, after =',
    DA: 'A date as YYYYMMDD',
    TM: 'A time as HHMMSS',
    DT: 'A date and time as YYYYMMDDHHMMSS',
    AS: 'An age such as 042Y',
    UI: 'A UID: digits and dots'
  }
  return [of[vr], isMultiple ? 'Several values are separated by \\' : undefined].filter(Boolean).join('. ') || undefined
}

function pretty(value: unknown): string {
  const text = stringify(value)
  // Indented only if no number loses digits on the way.
  return /\d{16,}/.test(text) ? text : JSON.stringify(JSON.parse(text), null, 2)
}
