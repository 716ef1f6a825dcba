import { useEffect, useRef, useState } from 'preact/hooks'
import { CircleAlert, CircleCheck, CircleDashed } from 'lucide-preact'
import { Button } from '../../ui/Button'
import { Dialog } from '../../ui/Dialog'
import { Badge, Progress, Spinner } from '../../ui/States'
import { count, dicomDate, personName } from '../../ui/format'
import { type BulkAction, type BulkItem, type ItemState, type Named, mayBeTriedAgain, named, runBulk } from './bulk'

const VERBS: Record<BulkAction, { title: string; action: string; running: string; done: string }> = {
  delete: { title: 'Delete', action: 'Delete', running: 'Deleting', done: 'deleted' },
  copy: { title: 'Copy', action: 'Copy', running: 'Copying', done: 'copied' },
  promote: { title: 'Promote', action: 'Promote', running: 'Promoting', done: 'promoted' }
}

/** Asks once, naming what is concerned, then shows what became of each image set. */
export function BulkDialog({ store, action, items, onClose }: { store: string; action: BulkAction; items: BulkItem[]; onClose: (changed: boolean) => void }) {
  const [phase, setPhase] = useState<'asks' | 'runs' | 'ended'>('asks')
  const [states, setStates] = useState<ItemState[]>(() => items.map(() => ({ is: 'waiting' })))
  const isStopped = useRef(false)
  // Nothing goes on that nobody sees: what has not begun when the page is left is not done.
  useEffect(() => () => void (isStopped.current = true), [])
  const words = VERBS[action]
  const done = states.filter((each) => each.is === 'done').length
  const failed = states.filter((each) => each.is === 'failed').length
  const changed = states.filter((each) => each.is === 'failed' && each.hasChanged).length

  const run = async (only?: (index: number) => boolean) => {
    isStopped.current = false
    setPhase('runs')
    await runBulk(store, action, items, (index, state) => setStates((old) => old.map((each, i) => (i === index ? state : each))), () => isStopped.current, only)
    setPhase('ended')
  }
  // The list below is loaded anew, too, when it has shown what is not so any more.
  const close = () => onClose(done > 0 || changed > 0)

  return (
    <Dialog
      title={`${words.title} ${count(items.length, 'image set')}`}
      isHeld={phase === 'runs'}
      onClose={close}
      actions={
        phase === 'asks' ? (
          <>
            <Button onClick={() => onClose(false)}>Cancel</Button>
            <Button look={action === 'delete' ? 'danger' : 'primary'} disabled={items.length === 0} onClick={() => void run()}>{words.action} {count(items.length, 'image set')}</Button>
          </>
        ) : phase === 'runs' ? (
          <Button onClick={() => (isStopped.current = true)}>Stop</Button>
        ) : (
          <>
            {states.some(mayBeTriedAgain) && <Button onClick={() => void run((index) => mayBeTriedAgain(states[index]!))}>Try the rest again</Button>}
            <Button look="primary" onClick={close}>Close</Button>
          </>
        )
      }
    >
      {phase === 'asks' ? (
        <Question action={action} items={items} />
      ) : (
        <div class="stack">
          <div class="stack-tight">
            <div class="spread"><span role="status">{phase === 'runs' ? `${words.running}…` : failed > 0 ? `${count(done, 'image set')} ${words.done}, ${failed} not` : done === items.length ? `All ${words.done}` : `${count(done, 'image set')} ${words.done}, then stopped`}</span><span class="faint number">{done + failed} / {items.length}</span></div>
            <Progress value={done + failed} max={items.length} label={words.running} look={failed > 0 ? 'bad' : phase === 'ended' ? 'good' : 'plain'} />
          </div>
          <ul class="bulk-results">
            {items.map((item, index) => <Result key={item.imageSetId} item={item} state={states[index]!} />)}
          </ul>
          {action === 'promote' && phase === 'ended' && done > 0 && <p class="soft small">What was promoted is now in a primary image set as well. The image sets that it came from stay; delete them if nobody needs them.</p>}
        </div>
      )}
    </Dialog>
  )
}

function Question({ action, items }: { action: BulkAction; items: BulkItem[] }) {
  const instances = items.reduce((sum, item) => sum + item.instanceCount, 0)
  return (
    <div class="stack">
      <NamedStudies of={named(items)} />
      <p class="soft">
        {action === 'delete' && <>{count(instances, 'instance')} with all versions and edits go. <strong>This cannot be undone.</strong></>}
        {action === 'copy' && 'Each copy is a new image set in this data store that is not primary. Pixels are shared, not stored twice. A copy can be deleted again.'}
        {action === 'promote' && (items.length === 0 ? 'All image sets of these studies are primary already.' : 'Their instances join the primary image set of their series, or make one where there is none. What contradicts it is refused and stays as it is.')}
      </p>
    </div>
  )
}

/** All of them: what is not named is not agreed to. */
export function NamedStudies({ of: groups }: { of: Named[] }) {
  return (
    <ul class="bulk-studies" tabIndex={0} aria-label="Studies">
      {groups.map(({ patient, study, items, isOther }) => (
        <li key={`${study.studyInstanceUid} ${patient.patientId} ${patient.patientName}`}>
          <span class="row-wrap"><strong>{personName(patient.patientName) || 'No name'}</strong> {patient.patientId ? <span>{patient.patientId}</span> : <span class="soft">No ID</span>}{isOther && <Badge look="warn" title="The study is listed with another patient, whose StudyInstanceUID these image sets have.">other patient</Badge>}</span>
          <span class="soft">{[dicomDate(study.studyDate), study.studyDescription, study.accessionNumber].filter(Boolean).join(' · ')}</span>
          <span class="faint small">{count(items.length, 'image set')}, {count(items.reduce((sum, item) => sum + item.instanceCount, 0), 'instance')}{items.length === 1 && ` · ${items[0]!.label}`}{kindOf(items)}</span>
          <span class="faint small">Study {study.studyInstanceUid}</span>
        </li>
      ))}
    </ul>
  )
}

/** A copy and the primary image set beside it are named alike: which of them is meant. */
function kindOf(items: BulkItem[]): string {
  const others = items.filter((item) => !item.isPrimary).length
  if (items.length === 1) return others === 1 ? ' · not primary' : items[0]!.study.otherImageSetCount > 0 ? ' · primary' : ''
  return others === 0 ? '' : others === items.length ? ' · none of them primary' : ` · ${others} of them not primary`
}

function Result({ item, state }: { item: BulkItem; state: ItemState }) {
  return (
    <li class={state.is}>
      {state.is === 'running' ? <Spinner /> : state.is === 'done' ? <CircleCheck aria-label="Done" /> : state.is === 'failed' ? <CircleAlert aria-label="Failed" /> : <CircleDashed aria-label="Waiting" />}
      <span class="grow">
        <span>{personName(item.patient.patientName) || 'No name'} {item.patient.patientId} <span class="soft">{item.label}</span>{!item.isPrimary && <> <Badge look="warn">not primary</Badge></>}</span>
        {state.is === 'failed' && <span class="reason">{state.message}</span>}
      </span>
    </li>
  )
}
