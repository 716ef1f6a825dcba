import { useState } from 'preact/hooks'
import { CircleAlert, Info, TriangleAlert, Undo2 } from 'lucide-preact'
import { ApiError, explain } from '../../api/errors'
import { untilUnlocked, updateImageSetMetadata } from '../../api/native'
import { Button, IconButton } from '../../ui/Button'
import { Dialog } from '../../ui/Dialog'
import { Checkbox } from '../../ui/Fields'
import { Loaded, Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { ago, count } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import { type Overview, type Preview, type PreviewedChange, preview, versions } from './api'
import { type Edit, base64, blobsOf, isStudyWide } from './edits'
import { callerName } from './callers'
import { ValueLabels, ValuePair } from './ValuePair'
import type { Go } from './ImageSet'

interface Props {
  store: string
  data: Overview
  seriesUid: string
  edits: Edit[]
  onClose: () => void
  onTakeBack: (edit: Edit) => void
  onChanged: (versionId: string) => void
  onConflict: () => void
  go: Go
}

/** What the changes would do, before they are made: element by element, with what the server would refuse. */
export function PreviewDialog({ store, data, seriesUid, edits, onClose, onTakeBack, onChanged, onConflict, go }: Props) {
  const studyWide = isStudyWide(edits, data.isPrimary)
  const blobs = blobsOf(edits, seriesUid)
  const [isForced, setForced] = useState(false)
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const [conflict, setConflict] = useState<string | null>(null)
  const found = useResource(
    (signal) => preview(store, data.imageSetId, { ...blobs, latestVersionId: data.latestVersionId, includeStudyImageSets: studyWide }, signal),
    [JSON.stringify(blobs), data.latestVersionId]
  )
  const isStale = isConflict(error) || isConflict(found.error)
  const lookAtConflict = async () => {
    const page = await versions(store, data.imageSetId, null).catch(() => null)
    const newest = page?.versions[0]
    setConflict(newest === undefined ? 'Another version was made meanwhile.' : `${callerName(newest.caller)} made version ${newest.versionId} ${ago(newest.createdAt)}.`)
  }
  if (isStale && conflict === null) void lookAtConflict()
  const apply = async () => {
    setBusy(true)
    setError(undefined)
    try {
      const updates = { DICOMUpdates: Object.fromEntries(Object.entries(blobs).map(([name, text]) => [name, base64(text as string)])) }
      const started = await updateImageSetMetadata(store, data.imageSetId, data.latestVersionId, updates, { force: isForced, includeStudyImageSets: studyWide })
      const done = await untilUnlocked(store, data.imageSetId)
      if (done.imageSetWorkflowStatus === 'UPDATE_FAILED') throw new Error(done.message ?? 'The update failed, and nothing was changed.')
      toast(`Version ${started.latestVersionId} was made.`, 'good')
      onClose()
      onChanged(started.latestVersionId)
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  const verdict = found.data?.verdict
  const mayApply = verdict === 'allowed' || (verdict === 'needsForce' && isForced)
  return (
    <Dialog
      title={`Preview of version ${found.data?.nextVersionId ?? ''}`}
      width="wide"
      onClose={onClose}
      isHeld={isBusy}
      actions={
        isStale ? (
          <>
            <Button onClick={() => { onClose(); onConflict(); go({ tab: 'versions', from: data.versionId, to: null, version: null }) }}>See what changed</Button>
            <Button look="primary" onClick={onConflict}>Go on with the latest version</Button>
          </>
        ) : (
          <>
            <Button onClick={onClose} disabled={isBusy}>Back</Button>
            <Button look="primary" isBusy={isBusy} disabled={!mayApply} onClick={() => void apply()}>Make version {found.data?.nextVersionId ?? ''}</Button>
          </>
        )
      }
    >
      {isStale ? (
        <Notice look="warn">
          <p><strong>The image set has changed since you opened it.</strong> {conflict}</p>
          <p>Nothing of yours was applied. Your changes are kept: look at what is different, then preview them again on the latest version.</p>
        </Notice>
      ) : (
        <Loaded resource={found}>
          {(shown) => (
            <div class="stack">
              {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
              <Changes found={shown} edits={edits} onTakeBack={onTakeBack} isForced={isForced} />
              {shown.affectedCount > 0 && (
                <Notice look="warn">
                  {`Attributes of the study are the same in all its primary image sets, so ${count(shown.affectedCount, 'other image set')} of this study ${shown.affectedCount === 1 ? 'gets' : 'get'} a new version, too: `}
                  {named(shown.affected)}.
                </Notice>
              )}
              {shown.contradicting.length > 0 && (
                <Notice look="warn">
                  {`With another PatientID, StudyDate, AccessionNumber or StudyID than the other series of its study, this image set cannot be promoted to primary. These have other values: ${named(shown.contradicting)}. `}
                  Copy and correct each of them, too, before you delete any primary image set; then promote them all.
                </Notice>
              )}
              {shown.verdict === 'refused' && <Notice look="bad">{shown.message} Take back what is refused to apply the rest.</Notice>}
              {shown.verdict === 'needsForce' && (
                <div class="stack-tight">
                  <Notice look="warn">{shown.message} Forced changes are not checked against what the standard expects of these attributes. The version is marked as forced.</Notice>
                  <Checkbox label="Force these changes" checked={isForced} onValue={setForced} />
                </div>
              )}
              <p class="faint small">{shown.affectedCount > 0 ? 'The versions before stay as they are, and can be looked at and compared.' : 'The version before stays as it is. You can revert to it.'}</p>
            </div>
          )}
        </Loaded>
      )}
    </Dialog>
  )
}

function named(sets: Preview['affected']): string {
  const some = sets.slice(0, 6).map((each) => `${each.modality ?? ''} series ${each.seriesNumber ?? '?'} (${count(each.instanceCount, 'instance')})`.trim())
  return some.join(', ') + (sets.length > some.length ? ' and more' : '')
}

/** The message is that of the service for a version that is not the latest. */
export function isConflict(error: unknown): boolean {
  return error instanceof ApiError && error.message.includes('is not the latest')
}

function Changes({ found, edits, onTakeBack, isForced }: { found: Preview; edits: Edit[]; onTakeBack: (edit: Edit) => void; isForced: boolean }) {
  const levels = ['Patient', 'Study', 'Series', 'Instance'].filter((level) => found.changes.some((each) => each.level === level))
  return (
    <>
      {levels.map((level) => (
        <section key={level} class="preview-changes">
          <h3>{level === 'Instance' ? 'Instances' : level}</h3>
          <ValueLabels old="Now" now="Then" />
          {found.changes.filter((each) => each.level === level).map((change) => {
            const edit = edits.find((each) => each.level === change.level && each.instance === change.SOPInstanceUID && (each.action === 'remove-instance' ? change.key === null : each.key === change.key))
            return (
              <div class="preview-row" key={`${change.key}:${change.SOPInstanceUID}`}>
                <div class="row" style={{ alignItems: 'flex-start' }}>
                  <div class="grow">
                    <ChangeView change={change} edit={edit} />
                    <Why change={change} isForced={isForced} />
                  </div>
                  {edit !== undefined && <IconButton label={`Take back ${change.key ?? 'the removal'}`} onClick={() => onTakeBack(edit)}><Undo2 /></IconButton>}
                </div>
              </div>
            )
          })}
        </section>
      ))}
    </>
  )
}

function ChangeView({ change, edit }: { change: PreviewedChange; edit: Edit | undefined }) {
  if (change.key === null) return <div>Instance {edit?.action === 'remove-instance' ? edit.number : ''} <span class="faint small">{change.SOPInstanceUID}</span> is removed from the image set</div>
  // What is refused is not worked out by the server: then what the person wrote is shown.
  const shown = change.elements.length > 0 || edit === undefined || edit.action === 'remove-instance' ? change.elements : [{ element: change.key, vr: edit.vr, ...(edit.old === undefined ? {} : { old: edit.old }), ...(edit.action === 'set' ? { new: edit.value } : {}) }]
  if (shown.length === 0) return <div>{change.key} <span class="faint">stays as it is</span></div>
  return (
    <>
      {shown.map((each) => <ValuePair key={each.element} diff={each} />)}
      {change.SOPInstanceUID !== null && <div class="faint small">Instance {change.SOPInstanceUID}</div>}
      {change.moreElements !== undefined && <div class="faint small">and {count(change.moreElements, 'element')} more</div>}
    </>
  )
}

function Why({ change, isForced }: { change: PreviewedChange; isForced: boolean }) {
  return (
    <>
      {change.verdict === 'refused' && <div class="preview-why bad"><CircleAlert aria-hidden="true" /><span>Refused: {change.message}</span></div>}
      {change.verdict === 'needsForce' && <div class="preview-why warn"><TriangleAlert aria-hidden="true" /><span>{isForced ? 'Will be forced' : 'Needs force'}: {change.message}</span></div>}
      {change.instancesWithOwnValue > 0 && <div class="preview-why note"><Info aria-hidden="true" /><span>{count(change.instancesWithOwnValue, 'instance')} had another value of {change.instancesWithOwnValue === 1 ? 'its' : 'their'} own and will show this one.</span></div>}
    </>
  )
}
