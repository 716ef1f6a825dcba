import { useEffect, useRef, useState } from 'preact/hooks'
import { KeyRound, LogIn, RefreshCw } from 'lucide-preact'
import { Mark } from '../app/Layout'
import { config } from '../api/config'
import { loadConfig } from '../api/consoleApi'
import { explain } from '../api/errors'
import { Button } from '../ui/Button'
import { TextField } from '../ui/Fields'
import { Notice, Spinner } from '../ui/States'
import { canSign, endedBecause } from './session'
import { CALLBACK, type OidcIdentity, beginOidc, finishOidc, signInByKey, signInByLink, takeRole } from './signIn'
import './SignIn.css'

type Step = 'choose' | 'working' | 'role'

// A link is good once, while this page comes back whenever a session ends.
let usedLink: string | null = null

/** The page before all others. */
export function SignIn({ link: given }: { link: string | null }) {
  const [link] = useState(given === usedLink ? null : given)
  const isBack = location.pathname === CALLBACK
  const [step, setStep] = useState<Step>(canSign && (link !== null || isBack) ? 'working' : 'choose')
  const [error, setError] = useState<unknown>()
  const [identity, setIdentity] = useState<OidcIdentity | null>(null)
  // Kept while a wrong secret is tried: the form is away then.
  const [keyId, setKeyId] = useState('')

  const attempt = async (work: () => Promise<void>) => {
    setStep('working')
    setError(undefined)
    try {
      await work()
    } catch (failure) {
      setError(failure)
      setStep('choose')
    }
  }

  useEffect(() => {
    if (!canSign) return
    if (link !== null) {
      usedLink = link
      void attempt(() => signInByLink(link))
    } else if (isBack) {
      void attempt(async () => {
        const found = await finishOidc()
        if (found === null) return setStep('choose')
        const [first, ...others] = found.roles
        if (first !== undefined && others.length === 0) return takeRole(found, first)
        setIdentity(found)
        setStep('role')
      })
    }
  }, [])

  return (
    <main class="sign-in">
      <div class="sign-in-box">
        <div class="sign-in-brand"><Mark /><h1>lightwell</h1></div>
        {!canSign ? (
          <Notice look="warn">
            Browsers sign requests only over HTTPS or on this machine. Open this server as <code>https://…</code> (
            <code>--tls-cert</code> and <code>--tls-key</code>), or on its own machine as <code>{`http://localhost${location.port && `:${location.port}`}`}</code>.
          </Notice>
        ) : (
          <>
            {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
            {error === undefined && endedBecause.value !== null && step === 'choose' && <Notice>{endedBecause.value}</Notice>}
            {step === 'working' && <p class="row soft" role="status"><Spinner /> Signing in…</p>}
            {step === 'role' && identity !== null && <Roles identity={identity} onPick={(role) => void attempt(() => takeRole(identity, role))} onBack={() => setStep('choose')} />}
            {step === 'choose' && <Choices attempt={attempt} keyId={keyId} onKeyId={setKeyId} />}
          </>
        )}
      </div>
    </main>
  )
}

interface ChoicesProps {
  attempt: (work: () => Promise<void>) => Promise<void>
  keyId: string
  onKeyId: (id: string) => void
}

function Choices(props: ChoicesProps) {
  const { attempt } = props
  const { oidc } = config.value
  const isAway = oidc !== null && !oidc.authorizationEndpoint
  return (
    <>
      {oidc !== null && (
        <>
          {isAway && <Notice look="warn">{oidc.message ?? 'The identity provider cannot be reached at the moment.'}</Notice>}
          {isAway ? (
            <Button icon={<RefreshCw />} onClick={() => void loadConfig()}>Look for the identity provider again</Button>
          ) : (
            <Button look="primary" icon={<LogIn />} onClick={() => void attempt(beginOidc)}>Sign in with {new URL(oidc.issuer).hostname}</Button>
          )}
          <div class="or"><span>or with an access key</span></div>
        </>
      )}
      <KeyForm {...props} isMain={oidc === null} />
    </>
  )
}

function KeyForm({ attempt, keyId: id, onKeyId: setId, isMain }: ChoicesProps & { isMain: boolean }) {
  const form = useRef<HTMLFormElement>(null)
  useEffect(() => form.current?.querySelector<HTMLInputElement>(id === '' ? '[name=accessKeyId]' : '[name=secretAccessKey]')?.focus(), [])
  const [secret, setSecret] = useState('')
  const [token, setToken] = useState('')
  const [isTemporary, setTemporary] = useState(false)
  const submit = (event: Event) => {
    event.preventDefault()
    void attempt(() => signInByKey(id.trim(), secret.trim(), token.trim() || undefined))
  }
  return (
    <form class="stack" ref={form} onSubmit={submit}>
      <TextField label="Access key ID" name="accessKeyId" value={id} onValue={setId} autocomplete="username" required />
      <TextField label="Secret access key" name="secretAccessKey" type="password" value={secret} onValue={setSecret} autocomplete="current-password" required />
      {isTemporary ? (
        <TextField label="Session token" name="sessionToken" type="password" value={token} onValue={setToken} />
      ) : (
        <button type="button" class="text-button" onClick={() => setTemporary(true)}>I have temporary credentials</button>
      )}
      <Button type="submit" look={isMain ? 'primary' : 'plain'} icon={<KeyRound />} disabled={!id.trim() || !secret.trim()}>Sign in</Button>
      <p class="faint small">
        On the server&rsquo;s machine, <code>lightwell console</code> prints a link that signs you in. The secret key does not leave
        this page.
      </p>
    </form>
  )
}

function Roles({ identity, onPick, onBack }: { identity: OidcIdentity; onPick: (role: OidcIdentity['roles'][number]) => void; onBack: () => void }) {
  if (identity.roles.length === 0) {
    return (
      <>
        <Notice look="warn">
          You are signed in with the identity provider, but no role of this server trusts you. Give its administrator this subject:{' '}
          <code>{identity.subject}</code>
        </Notice>
        <Button onClick={onBack}>Back</Button>
      </>
    )
  }
  return (
    <div class="stack">
      <p>{identity.name ? `${identity.name}, choose a role` : 'Choose a role'}</p>
      <ul class="stack-tight">
        {identity.roles.map((role) => (
          <li key={role.arn}><Button class="wide" onClick={() => onPick(role)}>{role.name}</Button></li>
        ))}
      </ul>
    </div>
  )
}
