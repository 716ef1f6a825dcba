import { useEffect, useState } from 'preact/hooks'
import { Copy, Ellipsis, Eye, FilePlus2, FolderInput, GitCompareArrows, Pencil, RotateCcw, TriangleAlert } from 'lucide-preact'
import { isAbort } from '../../api/errors'
import { untilUnlocked, updateImageSetMetadata } from '../../api/native'
import { Ago } from '../../ui/Ago'
import { Button } from '../../ui/Button'
import { confirm } from '../../ui/Dialog'
import { Menu } from '../../ui/Menu'
import { Badge, EmptyState, ErrorState, Skeleton } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { count } from '../../ui/format'
import { type Overview, type Version, versions } from './api'
import { callerName } from './callers'
import { DiffView } from './DiffView'
import { isConflict } from './PreviewDialog'
import type { Go } from './ImageSet'

interface Props {
  store: string
  data: Overview
  mayEdit: boolean
  from: string | null
  to: string | null
  go: Go
  onChanged: (versionId: string) => void
}

/** The versions of an image set, who made them, and what differs between two of them. */
export function VersionsTab({ store, data, mayEdit, from, to, go, onChanged }: Props) {
  const [found, setFound] = useState<Version[] | null>(null)
  const [next, setNext] = useState<string | null>(null)
  const [error, setError] = useState<unknown>()
  const [isLoading, setLoading] = useState(false)
  const load = async (token: string | null, signal?: AbortSignal) => {
    setLoading(true)
    setError(undefined)
    try {
      const page = await versions(store, data.imageSetId, token, signal)
      setFound((old) => (token === null ? page.versions : [...(old ?? []), ...page.versions]))
      setNext(page.nextToken)
    } catch (failure) {
      if (!isAbort(failure)) setError(failure)
    } finally {
      setLoading(false)
    }
  }
  useEffect(() => {
    const controller = new AbortController()
    void load(null, controller.signal)
    return () => controller.abort()
  }, [store, data.imageSetId, data.latestVersionId])
  if (found === null) return error === undefined ? <Skeleton lines={6} /> : <ErrorState error={error} retry={() => void load(null)} />
  const latest = found[0]?.versionId ?? data.latestVersionId
  const right = to ?? latest
  const left = from ?? (found.length > 1 && right !== '1' ? String(Number(right) - 1) : null)
  const compare = (one: string | null, other: string | null) => go({ tab: 'versions', from: one, to: other })
  const revert = async (version: Version) => {
    compare(latest, version.versionId)
    const done = await confirm(
      {
        title: `Revert to version ${version.versionId}?`,
        action: 'Revert',
        children: (
          <div class="stack-tight">
            <p>A new version, {Number(latest) + 1}, gets the content of version {version.versionId}. All versions between stay, so this can be undone by reverting to version {latest}.</p>
            <p>What it changes is shown on the page behind.</p>
          </div>
        )
      },
      async () => {
        try {
          const started = await updateImageSetMetadata(store, data.imageSetId, latest, { revertToVersionId: version.versionId })
          const ended = await untilUnlocked(store, data.imageSetId)
          if (ended.imageSetWorkflowStatus === 'UPDATE_FAILED') throw new Error(ended.message ?? 'The revert failed, and nothing was changed.')
          toast(`Version ${started.latestVersionId} has the content of version ${version.versionId}.`, 'good')
          onChanged(started.latestVersionId)
        } catch (failure) {
          if (isConflict(failure)) {
            void load(null)
            throw new Error('Another version was made meanwhile. The list now shows it: look at it, then decide again.')
          }
          throw failure
        }
      }
    )
    return done
  }
  return (
    <div class="versions">
      <section aria-label="Versions">
        <p class="faint small" id="pick-help">Pick two versions to compare: the older on the left, the newer on the right.</p>
        <div class="version-list">
          {found.map((version) => (
            <div class="version" key={version.versionId} data-testid={`version-${version.versionId}`}>
              <div class="version-pick">
                <input type="radio" name="from" aria-label={`Compare from version ${version.versionId}`} aria-describedby="pick-help" checked={left === version.versionId} disabled={version.versionId === right} onChange={() => compare(version.versionId, right)} />
                <input type="radio" name="to" aria-label={`Compare to version ${version.versionId}`} aria-describedby="pick-help" checked={right === version.versionId} disabled={version.versionId === left} onChange={() => compare(left, version.versionId)} />
              </div>
              <div class="what stack-tight">
                <div class="row-wrap">
                  <KindIcon version={version} />
                  <span class="number">{version.versionId}</span>
                  <span>{kindText(version)}</span>
                  {version.forced && <Badge look="warn">forced</Badge>}
                  {version.versionId === latest && <Badge look="accent">latest</Badge>}
                </div>
                {summary(version) !== '' && <div class="soft small">{summary(version)}</div>}
                <div class="faint small"><Ago at={version.createdAt} /> by <span title={version.caller}>{callerName(version.caller)}</span></div>
                {version.message !== undefined && <div class="small">{version.message}</div>}
                {version.copiedFromImageSetId !== undefined && <div class="small">from <a href={`/console/stores/${store}/sets/${version.copiedFromImageSetId}`}>{version.copiedFromImageSetId.slice(0, 8)}…</a></div>}
              </div>
              <Menu
                label={`Actions of version ${version.versionId}`}
                icon={<Ellipsis />}
                items={[
                  ...(version.kind === 'failed' && version.instanceCount === 0 ? [] : [{ label: 'View the metadata', icon: <Eye />, onSelect: () => go({ tab: 'metadata', version: version.versionId === latest ? null : version.versionId, from: null, to: null }) }]),
                  ...(version.versionId === '1' ? [] : [{ label: 'Compare with the one before', icon: <GitCompareArrows />, onSelect: () => compare(String(Number(version.versionId) - 1), version.versionId) }]),
                  ...(version.versionId === latest ? [] : [{ label: 'Compare with the latest', icon: <GitCompareArrows />, onSelect: () => compare(version.versionId, latest) }]),
                  ...(mayEdit && version.versionId !== latest && version.kind !== 'failed' ? [{ label: 'Revert to this version', icon: <RotateCcw />, onSelect: () => void revert(version) }] : [])
                ]}
              />
            </div>
          ))}
        </div>
        {error !== undefined && <ErrorState error={error} retry={() => void load(next)} />}
        {next !== null && <Button isBusy={isLoading} onClick={() => void load(next)}>Older versions</Button>}
      </section>
      <section aria-label="Differences">
        {left === null ? (
          <EmptyState icon={<GitCompareArrows />} title="There is one version only">Every change makes a new version. What differs between two of them is shown here.</EmptyState>
        ) : (
          <DiffView key={`${left}-${right}`} store={store} imageSetId={data.imageSetId} from={left} to={right} onSwap={() => compare(right, left)} />
        )}
      </section>
    </div>
  )
}

function KindIcon({ version }: { version: Version }) {
  const icons = { created: <FilePlus2 />, imported: <FolderInput />, updated: <Pencil />, copied: <Copy />, reverted: <RotateCcw />, failed: <TriangleAlert /> }
  return <span class={version.kind === 'failed' ? 'version-icon bad' : 'version-icon'} aria-hidden="true">{icons[version.kind]}</span>
}

export function kindText(version: Version): string {
  if (version.kind === 'reverted') return `reverted to ${version.revertedToVersionId}`
  if (version.kind === 'failed') return { UPDATE_FAILED: 'update failed', COPY_FAILED: 'copy failed', IMPORT_FAILED: 'import failed' }[version.workflowStatus] ?? 'failed'
  return version.kind
}

/** What a version changed, in a few words. */
export function summary(version: Version): string {
  if (version.versionId === '1') return version.instanceCount > 0 ? count(version.instanceCount, 'instance') : ''
  const parts: string[] = []
  if (version.levelsChanged?.length) parts.push(`${version.levelsChanged.join(' and ').toLowerCase()} edited`)
  if (version.added) parts.push(`${count(version.added, 'instance')} added`)
  if (version.removed) parts.push(`${count(version.removed, 'instance')} removed`)
  const edited = (version.touched ?? 0) - (version.added ?? 0)
  if (edited > 0) parts.push(`${count(edited, 'instance')} changed`)
  return parts.join(', ')
}
