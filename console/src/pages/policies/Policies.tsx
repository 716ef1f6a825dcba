import { useEffect, useState } from 'preact/hooks'
import { Check, CircleCheck, CircleX, Minus, Plus, ShieldQuestion, Trash2, X } from 'lucide-preact'
import { type Decision, allKeys, allRoles, explainPolicy, listActions } from '../../api/access'
import { config } from '../../api/config'
import { isAbort } from '../../api/errors'
import { activeStores } from '../../app/stores'
import { datastoreArn } from '../../session/allowed'
import { Button, IconButton } from '../../ui/Button'
import { Fact, Facts } from '../../ui/Facts'
import { SelectField, TextField } from '../../ui/Fields'
import { PageHeader } from '../../ui/PageHeader'
import { EmptyState, ErrorState, Skeleton } from '../../ui/States'
import { useResource } from '../../ui/useResource'
import { policyOf } from './templates'
import { PolicyEditor, syntaxFault } from './PolicyEditor'
import { COMMON } from './common'
import { Glance } from './Glance'
import { isComplete, question, subjectOf } from './question'
import './access.css'
import './Policies.css'

export default function Policies() {
  const asked = question.value
  const people = useResource(
    async (signal) => {
      const [keys, roles] = await Promise.allSettled([allKeys(signal), allRoles(signal)])
      return { keys: keys.status === 'fulfilled' ? keys.value : [], roles: roles.status === 'fulfilled' ? roles.value : [] }
    },
    []
  )
  const actions = useResource(listActions, [])
  const set = (change: Partial<typeof asked>) => (question.value = { ...question.value, ...change })
  const { accountId } = config.value
  useEffect(() => {
    const first = people.data?.keys.find((key) => !key.isRoot) ?? people.data?.keys[0]
    if (asked.who === '' && first !== undefined) set({ who: `key:${first.accessKeyId}` })
  }, [people.data])
  useEffect(() => {
    const first = activeStores.value[0]
    if (asked.resource === '' && first !== undefined) set({ resource: datastoreArn(first.datastoreId) })
  }, [activeStores.value])
  const who = [
    ...(people.data?.keys ?? []).map((key) => ({ value: `key:${key.accessKeyId}`, label: `${key.name} · ${key.accessKeyId}` })),
    ...(people.data?.roles ?? []).map((role) => ({ value: `role:${role.name}`, label: `role ${role.name}` })),
    { value: 'draft', label: 'A policy that nobody has yet' }
  ]
  if (asked.who !== '' && !who.some((each) => each.value === asked.who)) who.unshift({ value: asked.who, label: asked.who.replace(/^(key|role):/, '') })
  return (
    <>
      <PageHeader title="Policy explainer" lead="May they? Which statement decides, and why. The answer is the one that the server would give." />
      <div class="explainer">
        <form class="stack" onSubmit={(event) => event.preventDefault()}>
          <SelectField label="Who" options={who} value={asked.who} onValue={(value) => set({ who: value, draft: value === 'draft' && asked.draft === '' ? policyOf('own', { region: config.value.region, accountId, datastoreId: null }) : asked.draft })} />
          {asked.who === 'draft' && <PolicyEditor label="Policy" value={asked.draft} onValue={(draft) => set({ draft })} rows={10} />}
          <div class="stack-tight">
            <TextField label="Wants to" list="known-actions" value={asked.action} onValue={(action) => set({ action })} hint="An action of IAM, such as medical-imaging:GetImageSet." />
            <datalist id="known-actions">{(actions.data ?? []).map((action) => <option key={action} value={action} />)}</datalist>
            <div class="row-wrap" role="group" aria-label="Common actions">
              {COMMON.map(({ label, action }) => (
                <button key={action} type="button" class="policy-chip" aria-pressed={asked.action === action} onClick={() => set({ action })}>{label}</button>
              ))}
            </div>
          </div>
          <div class="stack-tight">
            <TextField label="On" list="known-resources" value={asked.resource} onValue={(resource) => set({ resource })} hint="The ARN of a resource, or * for what has none. What is done to an image set has to be allowed on its data store, too." />
            <datalist id="known-resources">
              {activeStores.value.map((store) => <option key={store.datastoreId} value={datastoreArn(store.datastoreId)}>{store.datastoreName}</option>)}
              <option value="*" />
            </datalist>
            <div class="row-wrap" role="group" aria-label="Resources">
              {activeStores.value.slice(0, 6).map((store) => (
                <button key={store.datastoreId} type="button" class="policy-chip" aria-pressed={asked.resource === datastoreArn(store.datastoreId)} onClick={() => set({ resource: datastoreArn(store.datastoreId) })}>{store.datastoreName}</button>
              ))}
              <button type="button" class="policy-chip" aria-pressed={asked.resource === '*'} onClick={() => set({ resource: '*' })}>No resource</button>
            </div>
          </div>
          <fieldset class="conditions">
            <legend>With (conditions of the request)</legend>
            <div class="stack-tight">
              {asked.context.map((each, index) => (
                <div key={index} class="row condition">
                  <TextField label="Condition key" hideLabel placeholder="aws:SourceIp" value={each.key} onValue={(key) => set({ context: asked.context.map((old, at) => (at === index ? { ...old, key } : old)) })} />
                  <TextField label="Value" hideLabel placeholder="10.1.2.3" value={each.value} onValue={(value) => set({ context: asked.context.map((old, at) => (at === index ? { ...old, value } : old)) })} />
                  <IconButton label="Remove" onClick={() => set({ context: asked.context.filter((_, at) => at !== index) })}><Trash2 /></IconButton>
                </div>
              ))}
              <div><Button look="quiet" icon={<Plus />} onClick={() => set({ context: [...asked.context, { key: '', value: '' }] })}>Add a condition key</Button></div>
            </div>
          </fieldset>
        </form>
        <Answer />
      </div>
      <Glance />
    </>
  )
}

function Answer() {
  const asked = question.value
  const [found, setFound] = useState<Decision | null>(null)
  const [error, setError] = useState<unknown>()
  const [round, setRound] = useState(0)
  const isReady = isComplete(asked) && (asked.who !== 'draft' || syntaxFault(asked.draft) === null)
  useEffect(() => {
    if (!isReady) {
      setFound(null)
      setError(undefined)
      return
    }
    let isOver = false
    const timer = setTimeout(() => {
      const context = asked.context.filter((each) => each.key.trim() !== '')
      explainPolicy({ action: asked.action.trim(), resource: asked.resource.trim(), ...subjectOf(asked), context }).then(
        (decision) => {
          if (isOver) return
          setFound(decision)
          setError(undefined)
        },
        (failure: unknown) => {
          if (isOver || isAbort(failure)) return
          setError(failure)
          setFound(null)
        }
      )
    }, 250)
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [asked, round])
  return (
    <section class="answer" aria-live="polite" aria-label="Answer">
      {error !== undefined ? (
        <ErrorState title="There is no answer" error={error} retry={() => setRound(round + 1)} />
      ) : found !== null ? (
        <Verdict of={found} />
      ) : isReady ? (
        <Skeleton />
      ) : (
        <EmptyState icon={<ShieldQuestion />} title="Ask something">Choose who, what and on which resource; the answer comes as you type.</EmptyState>
      )}
    </section>
  )
}

function Verdict({ of: decision }: { of: Decision }) {
  return (
    <div class="stack">
      <div class={`verdict ${decision.allowed ? 'good' : 'bad'}`} data-testid="verdict">
        {decision.allowed ? <CircleCheck aria-hidden="true" /> : <CircleX aria-hidden="true" />}
        <div>
          <strong>{decision.allowed ? 'Allowed' : 'Denied'}</strong>
          <p>{sentence(decision.reason)}</p>
        </div>
      </div>
      <Facts look="narrow">
        <Fact name="Principal"><code>{decision.principal}</code></Fact>
        <Fact name="Action"><code>{decision.action}</code></Fact>
        <Fact name="Resource"><code>{decision.resource}</code></Fact>
      </Facts>
      {decision.statements.length > 0 && (
        <div class="stack-tight">
          <h2>Statement by statement</h2>
          <ol class="statements">
            {decision.statements.map((each) => {
              const decides = each.statement === decision.deciding
              return (
                <li key={each.statement} class={decides ? 'deciding' : each.applies ? '' : 'idle'}>
                  <span class={`policy-mark ${each.applies ? (each.effect === 'Allow' ? 'good' : 'bad') : ''}`} aria-hidden="true">{each.applies ? each.effect === 'Allow' ? <Check /> : <X /> : <Minus />}</span>
                  <div>
                    <p><strong>{each.effect}</strong> {each.applies ? 'applies' : 'does not apply'} <span class="faint">{each.statement}{decides ? ', which decides' : ''}</span></p>
                    <p class="soft small">{sentence(each.why)}</p>
                  </div>
                </li>
              )
            })}
          </ol>
        </div>
      )}
    </div>
  )
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${text.endsWith('.') ? '' : '.'}`
}
