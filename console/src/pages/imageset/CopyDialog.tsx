import { useEffect, useMemo, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { explain, isAbort } from '../../api/errors'
import { copyImageSet, getImageSet, untilUnlocked } from '../../api/native'
import { Button } from '../../ui/Button'
import { Choices } from '../../ui/Choices'
import { Dialog } from '../../ui/Dialog'
import { Checkbox, TextField } from '../../ui/Fields'
import { Notice, Spinner } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { count } from '../../ui/format'
import type { Overview } from './api'
import { type Choice, chosen, copiable, whyNotCopied } from './copying'
import type { Outline } from './metadata'
import { isConflict } from './PreviewDialog'
import { MetadataReader } from './reader'

/** Asks what is to be copied and whereto, and copies it. */
export function CopyDialog({ store, data, onClose, onStale }: { store: string; data: Overview; onClose: () => void; onStale: () => void }) {
  const { route } = useLocation()
  const [outline, setOutline] = useState<Outline | null>(null)
  const [error, setError] = useState<unknown>()
  const [isBusy, setBusy] = useState(false)
  const [what, setWhat] = useState<'all' | 'some'>('all')
  const [numbers, setNumbers] = useState('')
  const [where, setWhere] = useState<'new' | 'existing'>('new')
  const [destination, setDestination] = useState('')
  const [isForced, setForced] = useState(false)
  useEffect(() => {
    if (what !== 'some' || outline !== null) return
    const controller = new AbortController()
    MetadataReader.open(store, data.imageSetId, data.latestVersionId, controller.signal)
      .then((found) => {
        found.reader.close()
        setOutline(found.outline)
      })
      .catch((failure: unknown) => !isAbort(failure) && setError(failure))
    return () => controller.abort()
  }, [what])
  const choice: Choice | null = useMemo(() => (what === 'all' || outline === null ? null : chosen(numbers, outline.instances)), [what, numbers, outline])
  const id = destination.trim().split('/').pop() ?? ''
  const isIdWrong = where === 'existing' && id !== '' && !/^[0-9a-z]{32}$/.test(id)
  const isReady = (what === 'all' || (choice !== null && choice.uids.length > 0 && choice.unknown.length === 0)) && (where === 'new' || (id !== '' && !isIdWrong && id !== data.imageSetId))
  const copy = async () => {
    setBusy(true)
    setError(undefined)
    try {
      const target = where === 'existing' ? await getImageSet(store, id) : undefined
      const started = await copyImageSet(
        store,
        data.imageSetId,
        {
          sourceImageSet: {
            latestVersionId: data.latestVersionId,
            ...(choice === null || outline === null ? {} : { DICOMCopies: { copiableAttributes: copiable(outline.seriesUid, choice.uids) } })
          },
          ...(target === undefined ? {} : { destinationImageSet: { imageSetId: id, latestVersionId: target.versionId } })
        },
        { force: isForced }
      )
      const made = started.destinationImageSetProperties
      const ended = await untilUnlocked(store, made.imageSetId)
      if (ended.imageSetWorkflowStatus === 'COPY_FAILED') throw new Error(`${whyNotCopied(ended.message)} Nothing was copied${where === 'existing' ? '; the destination has a failed version that says so, with its content unchanged' : ''}.`)
      toast(where === 'new' ? 'The copy was made. This is it.' : `The instances were copied: version ${made.latestVersionId} of this image set has them.`, 'good')
      onClose()
      // Who copies to change an attribute goes on among the attributes.
      const isAmongAttributes = new URLSearchParams(location.search).get('tab') === 'metadata'
      route(`/console/stores/${store}/sets/${made.imageSetId}${isAmongAttributes ? '?tab=metadata' : ''}`)
    } catch (failure) {
      if (isConflict(failure)) onStale()
      setError(isConflict(failure) ? new Error('One of the two image sets got another version meanwhile. The page now shows it: look at it, then copy again.') : failure)
      setBusy(false)
    }
  }
  return (
    <Dialog
      title="Copy image set"
      onClose={onClose}
      isHeld={isBusy}
      actions={
        <>
          <Button onClick={onClose} disabled={isBusy}>Cancel</Button>
          <Button look="primary" isBusy={isBusy} disabled={!isReady} onClick={() => void copy()}>Copy</Button>
        </>
      }
    >
      <div class="stack">
        <Choices legend="What" options={[{ id: 'all', title: `All ${count(data.instanceCount, 'instance')}` }, { id: 'some', title: 'Some instances' }]} value={what} onValue={setWhat}>
          {what === 'some' && (outline === null && error === undefined ? <Spinner /> : (
            <TextField label="Instance numbers" hint={choice === null || numbers === '' ? 'Such as 1-20, 35. UIDs do, too.' : `${count(choice.uids.length, 'instance')} chosen`} error={choice !== null && choice.unknown.length > 0 ? `There is no instance ${choice.unknown.slice(0, 5).join(', ')}.` : null} value={numbers} onValue={setNumbers} />
          ))}
        </Choices>
        <Choices legend="Where to" options={[{ id: 'new', title: 'A new image set, not primary' }, { id: 'existing', title: 'An image set that exists' }]} value={where} onValue={setWhere}>
          {where === 'existing' && <TextField label="Image set ID" hint="Or the address of its page." error={isIdWrong ? 'An image set ID has 32 letters and digits.' : id === data.imageSetId ? 'That is this image set.' : null} value={destination} onValue={setDestination} />}
        </Choices>
        {where === 'existing' && (
          <div class="stack-tight">
            <Checkbox label="Copy even if patient, study or series differ (force)" checked={isForced} onValue={setForced} />
            <p class="faint small">Copied instances then show the patient, study and series of the destination. Check that they belong to the same patient.</p>
          </div>
        )}
        {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      </div>
    </Dialog>
  )
}
