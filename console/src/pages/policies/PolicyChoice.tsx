import { useState } from 'preact/hooks'
import { Eye, EyeOff, Pencil } from 'lucide-preact'
import { config } from '../../api/config'
import { activeStores, currentStoreId } from '../../app/stores'
import { Button } from '../../ui/Button'
import { Choices } from '../../ui/Choices'
import { SelectField } from '../../ui/Fields'
import { Notice } from '../../ui/States'
import { TEMPLATES, honest, policyOf, pretty } from './templates'
import { PolicyEditor } from './PolicyEditor'

/** What a key or a role shall be allowed to do, while a person decides it. */
export interface PolicyDraft {
  template: string
  /** The data store that it is about; "" for all. */
  store: string
  /** The policies in JSON: of the template, or a person's own. */
  policies: string[]
  /** As they are to be kept: without the title of a template that they are no more. */
  kept: string[]
  isOwn: boolean
  /** Whether the server would take them. */
  isSound: boolean
  choose: (template: string) => void
  setStore: (store: string) => void
  setOwn: (index: number, text: string) => void
  mark: (index: number, isValid: boolean) => void
}

/** `existing`: the policies to be changed; without them one begins with the template of viewers. */
export function usePolicyDraft(existing?: string[]): PolicyDraft {
  const [template, setTemplate] = useState(existing === undefined ? 'viewer' : 'own')
  const [store, setStore] = useState(currentStoreId.value ?? '')
  const [own, setOwn] = useState(existing?.map(pretty) ?? [])
  const [valid, setValid] = useState<Record<number, boolean>>({})
  const place = { region: config.value.region, accountId: config.value.accountId, datastoreId: store === '' ? null : store }
  const isOwn = template === 'own'
  const policies = isOwn ? own : [policyOf(template, place)]
  return {
    template,
    store,
    policies,
    kept: policies.map((text) => honest(text, place)),
    isOwn,
    isSound: !isOwn || own.every((_, index) => valid[index] === true),
    choose: (chosen) => {
      // One's own begins with what was chosen before.
      if (chosen === 'own') setOwn(policies)
      setTemplate(chosen)
    },
    setStore,
    setOwn: (index, text) => setOwn(own.map((old, at) => (at === index ? text : old))),
    mark: (index, isValid) => setValid((old) => ({ ...old, [index]: isValid }))
  }
}

/** Chooses one of the templates, or writes a policy. `offered`: the templates that the caller may give. */
export function PolicyChoice({ of: draft, legend, offered }: { of: PolicyDraft; legend: string; offered?: (template: string) => boolean }) {
  return (
    <>
      <Choices legend={legend} options={TEMPLATES.filter((each) => offered?.(each.id) ?? true)} value={draft.template} onValue={draft.choose} />
      {TEMPLATES.find((each) => each.id === draft.template)?.isOfStore && (
        <SelectField
          label="In which data store?"
          value={draft.store}
          onValue={draft.setStore}
          options={[...activeStores.value.map((each) => ({ value: each.datastoreId, label: each.datastoreName ?? each.datastoreId })), { value: '', label: 'In all, those to come included' }]}
        />
      )}
      {draft.template === 'administrator' && <Notice look="warn">An administrator may delete everything, and make and revoke keys. Let few be one.</Notice>}
      {draft.isOwn ? <PolicyEditors of={draft} /> : <ShownPolicy of={draft} />}
    </>
  )
}

/** The policies as they are, to be written. */
export function PolicyEditors({ of: draft }: { of: PolicyDraft }) {
  return (
    <>
      {draft.policies.map((text, index) => (
        <PolicyEditor key={index} label={draft.policies.length === 1 ? 'Policy: what it allows' : `Policy ${index + 1}`} value={text} onValue={(value) => draft.setOwn(index, value)} onValid={(isValid) => draft.mark(index, isValid)} />
      ))}
    </>
  )
}

function ShownPolicy({ of: draft }: { of: PolicyDraft }) {
  const [isShown, setShown] = useState(false)
  return (
    <div class="stack-tight">
      <div class="row-wrap">
        <Button look="quiet" icon={isShown ? <EyeOff /> : <Eye />} aria-expanded={isShown} onClick={() => setShown(!isShown)}>{isShown ? 'Hide the policy' : 'Show the policy'}</Button>
        {isShown && <Button look="quiet" icon={<Pencil />} onClick={() => draft.choose('own')}>Change it</Button>}
      </div>
      {isShown && draft.policies.map((text, index) => <pre key={index} class="policy" role="region" aria-label="Policy" tabIndex={0}>{text}</pre>)}
    </div>
  )
}
