import { useState } from 'preact/hooks'
import { type Role, putRole } from '../../api/access'
import { config } from '../../api/config'
import { ApiError, explain } from '../../api/errors'
import { Button } from '../../ui/Button'
import { Choices } from '../../ui/Choices'
import { Dialog } from '../../ui/Dialog'
import { Checkbox, TextField } from '../../ui/Fields'
import { Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { PolicyChoice, PolicyEditors, usePolicyDraft } from '../policies/PolicyChoice'
import { PolicyEditor } from '../policies/PolicyEditor'
import { NAME, pretty } from '../policies/templates'
import { TRUSTS, type Trust, trustOf } from './templates'

/** Makes a role, or changes the policies of one. */
export function RoleDialog({ role, close, done }: { role: Role | null; close: () => void; done: () => void }) {
  const { accountId, oidc } = config.value
  const [name, setName] = useState(role?.name ?? '')
  const [trust, setTrust] = useState<Trust['id']>(role === null ? (oidc === null ? 'account' : 'oidc') : 'own')
  const [trustedName, setTrustedName] = useState('')
  const [isNamed, setNamed] = useState(true)
  const [ownTrust, setOwnTrust] = useState(pretty(role?.trustPolicy ?? ''))
  const [isTrustValid, setTrustValid] = useState(false)
  const draft = usePolicyDraft(role?.policies ?? (role === null ? undefined : []))
  const [taken, setTaken] = useState<string | null>(null)
  const [isTried, setTried] = useState(false)
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const trustPolicy = trust === 'own' ? ownTrust : trustOf(trust, accountId, trustedName, oidc, isNamed)
  const nameFault = name === '' ? 'Give it a name.' : name === taken ? 'There is a role of this name already. Change that one, or choose another name.' : NAME.test(name) ? null : 'Letters, digits and _+=,.@- only, 64 at most.'
  const userFault = trust === 'user' && !NAME.test(trustedName) ? 'Name a user, as in the list of keys.' : null
  const isSound = (trust !== 'own' || isTrustValid) && draft.isSound
  const save = async (event: Event) => {
    event.preventDefault()
    setTried(true)
    if (nameFault !== null || userFault !== null || isBusy) return
    setBusy(true)
    setError(undefined)
    try {
      const answer = await putRole(name, { trustPolicy, policies: draft.kept, revision: role?.revision ?? 0 })
      toast(role === null ? `The role ${name} is there.` : `The role ${name} is changed; its sessions have the new rights within seconds.`, 'good')
      answer.warnings.forEach((warning) => toast(warning, 'bad'))
      done()
      close()
    } catch (failure) {
      const isConflict = failure instanceof ApiError && failure.status === 409
      if (isConflict && role === null) setTaken(name)
      else setError(failure)
      // The list shows what somebody else has made of it.
      if (isConflict) done()
      setBusy(false)
    }
  }
  return (
    <Dialog
      title={role === null ? 'Create a role' : `The role ${role.name}`}
      width={trust === 'own' || draft.isOwn ? 'wide' : 'normal'}
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
          <Choices
            legend="Who may take it?"
            options={TRUSTS.filter((each) => each.id !== 'oidc' || oidc !== null)}
            value={trust}
            onValue={(chosen) => {
              if (chosen === 'own' && ownTrust === '') setOwnTrust(trustPolicy)
              setTrust(chosen)
            }}
          />
        )}
        {trust === 'user' && <TextField label="User" placeholder="anna.smith" value={trustedName} onValue={setTrustedName} error={isTried ? userFault : null} />}
        {trust === 'oidc' && <TextField label="Group" placeholder="radiology" value={trustedName} onValue={setTrustedName} hint="As the provider’s claim groups names it. Leave it empty for everybody of the provider." />}
        {trust === 'oidc' && (
          <div class="stack-tight">
            <Checkbox label="Only under their own name" checked={isNamed} onValue={setNamed} />
            <p class="soft small">Versions, logs and events call them by the claim <code>preferred_username</code>, which the provider has to give and which may have letters, digits and _+=,.@- only. Without this, people choose the name themselves.</p>
          </div>
        )}
        {trust === 'own' && <PolicyEditor label="Trust policy: who may take it" kind="trust" value={ownTrust} onValue={setOwnTrust} onValid={setTrustValid} rows={9} />}
        {role === null ? <PolicyChoice of={draft} legend="What may it do?" /> : <PolicyEditors of={draft} />}
        {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      </form>
    </Dialog>
  )
}
