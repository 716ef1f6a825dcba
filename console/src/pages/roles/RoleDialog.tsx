import { useState } from 'preact/hooks'
import { type Role, putRole } from '../../api/access'
import { config } from '../../api/config'
import { explain } from '../../api/errors'
import { activeStores, currentStoreId } from '../../app/stores'
import { Button } from '../../ui/Button'
import { Dialog } from '../../ui/Dialog'
import { SelectField, TextField } from '../../ui/Fields'
import { Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { NAME, TEMPLATES, honest, policyOf, pretty } from '../keys/templates'
import { PolicyEditor } from '../policies/PolicyEditor'
import { TRUSTS, type Trust, trustOf } from './templates'

/** Makes a role, or changes the policies of one. */
export function RoleDialog({ role, close, done }: { role: Role | null; close: () => void; done: () => void }) {
  const { region, accountId, oidc } = config.value
  const [name, setName] = useState(role?.name ?? '')
  const [trust, setTrust] = useState<Trust['id']>(role === null ? (oidc === null ? 'account' : 'oidc') : 'own')
  const [trustedName, setTrustedName] = useState('')
  const [ownTrust, setOwnTrust] = useState(pretty(role?.trustPolicy ?? ''))
  const [template, setTemplate] = useState(role === null ? 'viewer' : 'own')
  const [store, setStore] = useState(currentStoreId.value ?? '')
  const [own, setOwn] = useState<string[]>(role?.policies?.map(pretty) ?? [])
  const [valid, setValid] = useState<Record<string, boolean>>({})
  const [isTried, setTried] = useState(false)
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const place = { region, accountId, datastoreId: store === '' ? null : store }
  const trustPolicy = trust === 'own' ? ownTrust : trustOf(trust, accountId, trustedName, oidc)
  const policies = template === 'own' ? own : [policyOf(template, place)]
  const nameFault = name === '' ? 'Give it a name.' : NAME.test(name) ? null : 'Letters, digits and _+=,.@- only, 64 at most.'
  const userFault = trust === 'user' && !NAME.test(trustedName) ? 'Name a user, as in the list of keys.' : null
  const isSound = (trust !== 'own' || valid['trust'] === true) && (template !== 'own' || own.every((_, index) => valid[`policy ${index}`] === true))
  const save = async (event: Event) => {
    event.preventDefault()
    setTried(true)
    if (nameFault !== null || userFault !== null || isBusy) return
    setBusy(true)
    setError(undefined)
    try {
      const answer = await putRole(name, { trustPolicy, policies: policies.map((text) => honest(text, place)) })
      toast(role === null ? `The role ${name} is there.` : `The role ${name} is changed; its sessions have the new rights within seconds.`, 'good')
      answer.warnings.forEach((warning) => toast(warning, 'bad'))
      done()
      close()
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  const mark = (key: string) => (isValid: boolean) => setValid((old) => ({ ...old, [key]: isValid }))
  return (
    <Dialog
      title={role === null ? 'Create a role' : `The role ${role.name}`}
      width={trust === 'own' || template === 'own' ? 'wide' : 'normal'}
      onClose={close}
      isHeld={isBusy}
      actions={
        <>
          <Button onClick={close} disabled={isBusy}>Cancel</Button>
          <Button look="primary" type="submit" form="role" isBusy={isBusy} disabled={!isSound}>{role === null ? 'Create role' : 'Save'}</Button>
        </>
      }
    >
      <form id="role" class="stack" onSubmit={(event) => void save(event)} noValidate>
        {role === null && <TextField label="Name" placeholder="Radiologist" value={name} onValue={setName} autofocus maxLength={64} error={isTried || name !== '' ? nameFault : null} />}
        {role === null && (
          <fieldset class="access-choices">
            <legend>Who may take it?</legend>
            {TRUSTS.filter((each) => each.id !== 'oidc' || oidc !== null).map((each) => (
              <label key={each.id} class="choice">
                <input type="radio" name="trust" checked={trust === each.id} onChange={() => { if (each.id === 'own' && ownTrust === '') setOwnTrust(trustPolicy); setTrust(each.id) }} />
                <span>
                  <strong>{each.title}</strong>
                  <span class="soft small">{each.says}</span>
                </span>
              </label>
            ))}
          </fieldset>
        )}
        {trust === 'user' && <TextField label="User" placeholder="anna.smith" value={trustedName} onValue={setTrustedName} error={isTried ? userFault : null} />}
        {trust === 'oidc' && <TextField label="Group" placeholder="radiology" value={trustedName} onValue={setTrustedName} hint="As the provider’s claim groups names it. Leave it empty for everybody of the provider." />}
        {trust === 'own' && <PolicyEditor label="Trust policy: who may take it" kind="trust" value={ownTrust} onValue={setOwnTrust} onValid={mark('trust')} rows={9} />}
        {role === null && (
          <SelectField
            label="What may it do?"
            value={template}
            onValue={(value) => { if (value === 'own') setOwn(policies); setTemplate(value) }}
            options={TEMPLATES.map((each) => ({ value: each.id, label: each.id === 'own' ? each.title : `${each.title}: ${each.says}` }))}
          />
        )}
        {TEMPLATES.find((each) => each.id === template)?.isOfStore && (
          <SelectField
            label="In which data store?"
            value={store}
            onValue={setStore}
            options={[...activeStores.value.map((each) => ({ value: each.datastoreId, label: each.datastoreName ?? each.datastoreId })), { value: '', label: 'In all, those to come included' }]}
          />
        )}
        {template === 'own' &&
          own.map((text, index) => (
            <PolicyEditor key={index} label={own.length === 1 ? 'Policy: what it may do' : `Policy ${index + 1}`} value={text} onValue={(value) => setOwn(own.map((old, at) => (at === index ? value : old)))} onValid={mark(`policy ${index}`)} />
          ))}
        {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      </form>
    </Dialog>
  )
}
