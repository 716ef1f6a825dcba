import { useState } from 'preact/hooks'
import { Check, Copy, KeyRound } from 'lucide-preact'
import { type MadeKey, createKey } from '../../api/access'
import { config } from '../../api/config'
import { explain } from '../../api/errors'
import { iamArn, useAllowed } from '../../session/allowed'
import { Button, IconButton } from '../../ui/Button'
import { Copyable } from '../../ui/Copyable'
import { Dialog } from '../../ui/Dialog'
import { Fact, Facts } from '../../ui/Facts'
import { SelectField, TextField } from '../../ui/Fields'
import { Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { time } from '../../ui/format'
import { PolicyChoice, usePolicyDraft } from '../policies/PolicyChoice'
import { NAME, exports } from '../policies/templates'

const ENDS = [
  { value: '', label: 'When it is revoked' },
  { value: '1', label: 'After a day' },
  { value: '7', label: 'After a week' },
  { value: '30', label: 'After 30 days' },
  { value: '90', label: 'After 90 days' },
  { value: '365', label: 'After a year' }
]

/** Makes a key in one dialog, and shows its secret once. */
export function NewKey({ close, made }: { close: () => void; made: () => void }) {
  const [key, setKey] = useState<MadeKey | null>(null)
  if (key !== null) return <Secret of={key} close={close} />
  return <Form close={close} done={(found) => { setKey(found); made() }} />
}

function Form({ close, done }: { close: () => void; done: (key: MadeKey) => void }) {
  const mayAttach = useAllowed('iam:AttachUserPolicy', iamArn('user/*'))
  const mayPut = useAllowed('iam:PutUserPolicy', iamArn('user/*'))
  const [name, setName] = useState('')
  const draft = usePolicyDraft()
  const [days, setDays] = useState('')
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const [isTried, setTried] = useState(false)
  const nameFault = name === '' ? 'Say whose key it is.' : name === 'root' ? 'root is the name of the first key.' : NAME.test(name) ? null : 'Letters, digits and _+=,.@- only, 64 at most: anna.smith, not Anna Smith.'
  const create = async (event: Event) => {
    event.preventDefault()
    setTried(true)
    if (nameFault !== null || isBusy) return
    setBusy(true)
    setError(undefined)
    try {
      const expiresAt = days === '' ? undefined : new Date(Date.now() + Number(days) * 86_400_000).toISOString()
      done(await createKey(draft.template === 'administrator' ? { name, isAdministrator: true, expiresAt } : { name, policies: draft.kept, expiresAt }))
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <Dialog
      title="Give somebody a key"
      width={draft.isOwn ? 'wide' : 'normal'}
      onClose={close}
      isHeld={isBusy}
      actions={
        <>
          <Button onClick={close} disabled={isBusy}>Cancel</Button>
          <Button look="primary" type="submit" form="new-key" isBusy={isBusy} icon={<KeyRound />} disabled={!draft.isSound}>Make the key</Button>
        </>
      }
    >
      <form id="new-key" class="stack" onSubmit={(event) => void create(event)} noValidate>
        <TextField
          label="Who is it for?"
          placeholder="anna.smith"
          value={name}
          onValue={setName}
          autofocus
          maxLength={64}
          hint="A person or a program. The name stands in the history of what they change."
          error={(isTried || name !== '') && nameFault !== null && !(name === '' && !isTried) ? nameFault : null}
        />
        <PolicyChoice of={draft} legend="What may they do?" offered={(template) => (template === 'administrator' ? mayAttach !== false : mayPut !== false)} />
        <SelectField label="When does it end?" value={days} onValue={setDays} options={ENDS} />
        {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      </form>
    </Dialog>
  )
}

function Secret({ of: key, close }: { of: MadeKey; close: () => void }) {
  const url = location.origin
  const lines = exports(key, config.value.region, url)
  const [isCopied, setCopied] = useState(false)
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(lines)
      setCopied(true)
      setTimeout(() => setCopied(false), 1500)
    } catch {
      toast('The browser did not allow copying. Select the text and copy it.', 'bad')
    }
  }
  return (
    <Dialog title={`The key of ${key.name}`} onClose={close} isHeld width="normal" actions={<Button look="primary" onClick={close}>I have kept it</Button>}>
      <div class="stack">
        <Notice look="warn">The secret is shown this once. Copy it now: nobody can read it later, not even root.</Notice>
        {key.warnings.map((warning) => <Notice key={warning} look="warn">{warning}</Notice>)}
        <Facts>
          <Fact name="Access key ID"><Copyable text={key.accessKeyId} label="Copy the access key ID" /></Fact>
          <Fact name="Secret access key" testId="secret"><Copyable text={key.secretAccessKey} label="Copy the secret" /></Fact>
          {key.expiresAt !== null && <Fact name="Ends">{time(key.expiresAt)}</Fact>}
        </Facts>
        <div class="stack-tight">
          <h3>For a person</h3>
          <p class="soft">They open <code>{url}/console/</code> and sign in with the two lines above.</p>
          {/^(localhost|127\.|\[::1\])/.test(location.hostname) && <p class="soft small">That address works on this machine only. For others the server has to listen on the network, over HTTPS.</p>}
        </div>
        <div class="stack-tight">
          <div class="spread">
            <h3>For a program</h3>
            <IconButton label="Copy all lines" onClick={() => void copy()}>{isCopied ? <Check /> : <Copy />}</IconButton>
          </div>
          <p class="soft">boto3, the AWS CLI and every other SDK use this server after:</p>
          <pre class="policy lines" data-testid="exports" role="region" aria-label="Lines for a shell" tabIndex={0}>{lines}</pre>
        </div>
      </div>
    </Dialog>
  )
}
