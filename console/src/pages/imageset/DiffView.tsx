import { useEffect, useState } from 'preact/hooks'
import { ArrowLeftRight } from 'lucide-preact'
import { isAbort } from '../../api/errors'
import { Button, IconButton } from '../../ui/Button'
import { Badge, ErrorState, Notice, Skeleton } from '../../ui/States'
import { count } from '../../ui/format'
import { type DiffPart, diff } from './api'
import { type InstanceDiff, type InstanceGroup, grouped, ranges } from './diff'
import { ValueLabels, ValuePair } from './ValuePair'

const LOOKS = { added: 'good', removed: 'bad', replaced: 'warn', changed: 'plain' } as const
const FEW = 12

/** What differs between two versions: levels first, then instances, those that changed alike together. */
export function DiffView({ store, imageSetId, from, to, onSwap }: { store: string; imageSetId: string; from: string; to: string; onSwap: () => void }) {
  const [part, setPart] = useState<DiffPart | null>(null)
  const [instances, setInstances] = useState<InstanceDiff[]>([])
  const [next, setNext] = useState<string | null>(null)
  const [error, setError] = useState<unknown>()
  const [isLoading, setLoading] = useState(true)
  const load = async (token: string | null, signal?: AbortSignal) => {
    setLoading(true)
    setError(undefined)
    try {
      // A few parts at once, so that a change of a whole series is seen as one.
      let at = token
      for (let round = 0; round < 20; round++) {
        const found = await diff(store, imageSetId, from, to, at, signal)
        if (at === null) {
          setPart(found)
          setInstances(found.instances)
        } else setInstances((old) => [...old, ...found.instances])
        at = found.nextToken
        setNext(at)
        if (at === null) break
      }
      setLoading(false)
    } catch (failure) {
      if (isAbort(failure)) return
      setError(failure)
      setLoading(false)
    }
  }
  useEffect(() => {
    const controller = new AbortController()
    void load(null, controller.signal)
    return () => controller.abort()
  }, [store, imageSetId, from, to])
  if (part === null) return error === undefined ? <Skeleton lines={6} /> : <ErrorState error={error} retry={() => void load(null)} />
  const groups = grouped(instances)
  const changed = instances.filter((each) => each.change === 'changed' || each.change === 'replaced').length
  const isWhole = next === null && !isLoading
  const counts = [
    part.levels.length > 0 ? part.levels.map((each) => each.level.toLowerCase()).join(' and ') : null,
    part.added > 0 ? `${count(part.added, 'instance')} added` : null,
    part.removed > 0 ? `${count(part.removed, 'instance')} removed` : null,
    changed > 0 ? `${count(changed, 'instance')} changed${isWhole ? '' : ' so far'}` : null,
    isWhole && part.newInstanceCount - part.added - changed > 0 ? `${count(part.newInstanceCount - part.added - changed)} unchanged` : null
  ].filter(Boolean)
  return (
    <div data-testid="diff">
      <div class="diff-head">
        <h2 class="row">Version {from} → {to}<IconButton label="Swap the two versions" onClick={onSwap}><ArrowLeftRight /></IconButton></h2>
        <span class="soft small">{counts.join(' · ')}</span>
      </div>
      {part.levels.length === 0 && instances.length === 0 && isWhole && <Notice>Both versions show the same: no attribute, instance or pixel differs.</Notice>}
      {part.levels.map((level) => (
        <section class="diff-group" key={level.level}>
          <header><h3>{level.level}</h3>{level.versionId !== null && <span class="faint small">since version {level.versionId}</span>}</header>
          <ValueLabels old={`Version ${from}`} now={`Version ${to}`} />
          <div class="diff-rows">{level.elements.map((each) => <ValuePair key={each.element} diff={each} />)}</div>
          {level.moreElements !== undefined && <p class="faint small">and {count(level.moreElements, 'element')} more</p>}
        </section>
      ))}
      {groups.map((group) => <Group key={group.id} group={group} from={from} to={to} />)}
      {error !== undefined && <ErrorState error={error} retry={() => void load(next)} />}
      {next !== null && error === undefined && <p class="diff-group"><Button isBusy={isLoading} onClick={() => void load(next)}>Compare further instances</Button></p>}
    </div>
  )
}

function Group({ group, from, to }: { group: InstanceGroup; from: string; to: string }) {
  const [isAll, setAll] = useState(false)
  const [areListed, setListed] = useState(false)
  const one = group.instances.length === 1 ? group.instances[0] : undefined
  const numbers = ranges(group.instances.map((each) => each.InstanceNumber))
  const versions = [...new Set(group.instances.map((each) => each.versionId).filter((each) => each !== null))]
  const elements = isAll ? group.elements : group.elements.slice(0, FEW)
  return (
    <section class="diff-group">
      <header>
        <Badge look={LOOKS[group.change]}>{group.change}</Badge>
        <h3>{one === undefined ? count(group.instances.length, 'instance') : 'Instance'} {numbers !== '' && <span class="soft">{numbers}</span>}</h3>
        {versions.length === 1 && <span class="faint small">{group.change === 'removed' ? 'in' : 'since'} version {versions[0]}</span>}
        <button type="button" class="link-button small" aria-expanded={areListed} onClick={() => setListed(!areListed)}>{areListed ? 'Hide UIDs' : one === undefined ? 'UIDs' : 'UID'}</button>
      </header>
      {areListed && <div class="uids">{group.instances.slice(0, 500).map((each) => <code class="small faint" key={each.SOPInstanceUID}>{each.oldSOPInstanceUID === undefined ? '' : `${each.oldSOPInstanceUID} → `}{each.SOPInstanceUID}</code>)}</div>}
      <PixelChange instances={group.instances} />
      {group.change === 'replaced' && group.elements.length === 0 && <p class="soft small">{one === undefined ? 'Other files of these instances were imported; their' : 'Another file of this instance was imported; its'} attributes are the same.</p>}
      {elements.length > 0 && (
        <>
          <ValueLabels old={`Version ${from}`} now={`Version ${to}`} />
          <div class="diff-rows">{elements.map((each) => <ValuePair key={each.element} diff={each} />)}</div>
        </>
      )}
      {group.elements.length > FEW && <Button look="quiet" onClick={() => setAll(!isAll)}>{isAll ? 'Fewer' : `All ${count(group.elements.length, 'element')}`}</Button>}
      {isAll && group.moreElements > 0 && <p class="faint small">and {count(group.moreElements, 'element')} more; lightwell sets diff --json lists them all</p>}
    </section>
  )
}

function PixelChange({ instances }: { instances: readonly InstanceDiff[] }) {
  const first = instances.find((each) => each.frames !== undefined)?.frames
  if (first === undefined) return null
  if (first.differing === 0) return <p class="soft small">The pixel data were imported again and are the same.</p>
  const which = first.new === 1 && first.old === 1 ? '' : `: ${count(first.differing)} of ${count(Math.max(first.old, first.new), 'frame')}${instances.length === 1 ? ` (${ranges(first.first)}${first.differing > first.first.length ? ' and more' : ''})` : ''}`
  return (
    <p class="row-wrap small">
      <Badge look="warn">pixels differ{which}</Badge>
      {first.old !== first.new && <span>{count(first.old)} → {count(first.new, 'frame')}</span>}
    </p>
  )
}
