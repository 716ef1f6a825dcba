import { useState } from 'preact/hooks'
import { ArrowUpToLine, Copy, Download, Ellipsis, ExternalLink, Eye, Trash2 } from 'lucide-preact'
import { useLocation } from 'preact-iso'
import { config } from '../../api/config'
import { deleteSeenImageSet } from '../../api/consoleApi'
import { ChangedMeanwhile, explain } from '../../api/errors'
import { copyImageSet, untilUnlocked } from '../../api/native'
import { archiveLink } from '../../api/studies'
import { openOhif } from '../../session/ohif'
import { ButtonLink } from '../../ui/Button'
import { confirm } from '../../ui/Dialog'
import { Menu, type MenuItem } from '../../ui/Menu'
import { toast } from '../../ui/Toasts'
import { count, personName } from '../../ui/format'
import { datastoreArn, useAllowed } from '../../session/allowed'
import { textOf } from '../../dicom/values'
import type { Overview } from './api'
import { CopyDialog } from './CopyDialog'
import { whyNotCopied } from './copying'
import { dropDraft } from './drafts'
import { viewerOf } from './OverviewTab'
import { setLabel } from '../studies/bulk'
import { isConflict } from './PreviewDialog'

/** What can be done with an image set as a whole; only what the policies allow. */
export function Actions({ store, data, onChanged }: { store: string; data: Overview; onChanged: () => void }) {
  const { route } = useLocation()
  const arn = datastoreArn(store, data.imageSetId)
  const mayCopy = useAllowed('medical-imaging:CopyImageSet', arn) === true
  const mayDelete = useAllowed('medical-imaging:DeleteImageSet', arn) === true
  const maySee = useAllowed('medical-imaging:GetImageFrame', arn) === true
  const mayExport = useAllowed('medical-imaging:GetDICOMInstance', datastoreArn(store)) === true
  const [isCopying, setCopying] = useState(false)
  const save = async (syntax: 'explicit' | 'stored') => {
    try {
      const anchor = document.createElement('a')
      anchor.href = await archiveLink(store, [data.imageSetId], syntax)
      anchor.download = 'dicom.zip'
      anchor.click()
      toast('The browser saves dicom.zip.')
    } catch (failure) {
      toast(explain(failure), 'bad')
    }
  }
  const promote = () =>
    confirm(
      {
        title: 'Promote to primary?',
        action: 'Promote',
        children: (
          <div class="stack-tight">
            <p>A copy of this image set becomes the primary one of its series, or joins the one that there is. DICOMweb then shows it.</p>
            <p>It is refused if patient, study or series differ from the primary image sets of the study, or if they have the same instances. This image set stays; delete it afterwards if nobody needs it.</p>
          </div>
        )
      },
      async () => {
        try {
          const started = await copyImageSet(store, data.imageSetId, { sourceImageSet: { latestVersionId: data.latestVersionId } }, { promoteToPrimary: true })
          const made = started.destinationImageSetProperties
          const ended = await untilUnlocked(store, made.imageSetId)
          if (ended.imageSetWorkflowStatus === 'COPY_FAILED') throw new Error(`${whyNotCopied(ended.message)} Nothing was changed.`)
          toast('The image set was promoted. This is the primary one.', 'good')
          route(`/console/stores/${store}/sets/${made.imageSetId}`)
        } catch (failure) {
          if (isConflict(failure)) onChanged()
          throw isConflict(failure) ? new Error('Another version was made meanwhile. The page now shows it: look at it, then decide again.') : failure
        }
      }
    )
  const remove = () => {
    const at = location.pathname
    return confirm(
      {
        title: 'Delete this image set?',
        action: 'Delete',
        look: 'danger',
        children: (
          <div class="stack-tight">
            <p>
              <strong>{personName(textOf(data.patient['PatientName'])) || 'No name'}</strong> {textOf(data.patient['PatientID'])}
              <br />
              {setLabel(textOf(data.series['SeriesNumber']) || null, textOf(data.series['Modality']), textOf(data.series['SeriesDescription']))}
              <br />
              <span class="faint small">Image set {data.imageSetId}</span>
            </p>
            <p>{count(data.instanceCount, 'instance')} with {count(data.frameCount, 'frame')}, in all {data.latestVersionId === '1' ? 'its one version' : `${data.latestVersionId} versions`}, will be gone at once for everybody.</p>
            <p><strong>This cannot be undone.</strong>{data.isPrimary ? ' DICOMweb no longer shows the series.' : ' The primary image set of the series, if there is one, stays.'}</p>
          </div>
        )
      },
      async () => {
        try {
          await deleteSeenImageSet(store, data.imageSetId, data.latestVersionId)
        } catch (failure) {
          // The page below the dialog shows what there is now.
          if (failure instanceof ChangedMeanwhile) onChanged()
          throw failure
        }
        dropDraft(store, data.imageSetId)
        toast('The image set was deleted.', 'good')
        // Whoever has gone elsewhere meanwhile stays there.
        if (location.pathname === at) route(`/console/stores/${store}`)
      }
    )
  }
  const items: (MenuItem | null)[] = []
  // Everything here is about the latest version.
  const isLatest = data.versionId === data.latestVersionId
  if (mayCopy && isLatest) items.push({ label: 'Copy…', icon: <Copy />, onSelect: () => setCopying(true) })
  if (mayCopy && isLatest && !data.isPrimary) items.push({ label: 'Promote to primary…', icon: <ArrowUpToLine />, onSelect: () => void promote() })
  if (mayExport && isLatest) {
    items.push({ label: 'Export, uncompressed', icon: <Download />, onSelect: () => void save('explicit') }, { label: 'Export as stored', icon: <Download />, onSelect: () => void save('stored') })
  }
  // OHIF reads DICOMweb, which lists primary image sets only.
  if (config.value.ohif && data.isPrimary) items.push({ label: 'Open in OHIF', icon: <ExternalLink />, onSelect: () => void openOhif(store, textOf(data.study['StudyInstanceUID'])) })
  if (mayDelete && isLatest) items.push(...(items.length > 0 ? [null] : []), { label: 'Delete…', icon: <Trash2 />, look: 'danger', onSelect: () => void remove() })
  return (
    <>
      {(maySee || data.frameCount === 0) && <ButtonLink look="primary" icon={<Eye />} href={viewerOf(store, data)}>Open viewer</ButtonLink>}
      {items.length > 0 && <Menu label="Actions" icon={<Ellipsis />} items={items} />}
      {isCopying && <CopyDialog store={store} data={data} onClose={() => setCopying(false)} onStale={onChanged} />}
    </>
  )
}
