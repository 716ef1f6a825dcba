import { useState } from 'preact/hooks'
import { Ban, FileText, Ellipsis, KeyRound, ShieldQuestion, UserPlus } from 'lucide-preact'
import { type Key, allKeys, revokeKey } from '../../api/access'
import { config } from '../../api/config'
import { stores } from '../../app/stores'
import { iamArn, useAllowed } from '../../session/allowed'
import { Ago } from '../../ui/Ago'
import { Button } from '../../ui/Button'
import { Copyable } from '../../ui/Copyable'
import { Dialog, confirm } from '../../ui/Dialog'
import { SearchField } from '../../ui/Fields'
import { Menu } from '../../ui/Menu'
import { PageHeader } from '../../ui/PageHeader'
import { Badge, EmptyState, Loaded, Notice } from '../../ui/States'
import { Tabs } from '../../ui/Tabs'
import { toast } from '../../ui/Toasts'
import { count } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import { useLocation } from 'preact-iso'
import { question } from '../policies/question'
import { NewKey } from './NewKey'
import { Sessions } from './Sessions'
import { pretty, storesOf, summary } from '../policies/templates'
import '../../ui/Table.css'
import '../policies/access.css'

const TABS = [
  { id: 'keys', label: 'Access keys' },
  { id: 'sessions', label: 'Sessions' }
]

export default function Keys() {
  const keys = useResource(allKeys, [])
  const mayCreate = useAllowed('iam:CreateAccessKey', iamArn('user/*'))
  const [isMaking, setMaking] = useState(false)
  const [shown, setShown] = useState<Key | null>(null)
  const [wanted, setWanted] = useState('')
  const [tab, setTab] = useState('keys')
  const add = mayCreate && (
    <Button look="primary" icon={<UserPlus />} onClick={() => setMaking(true)}>Give somebody a key</Button>
  )
  return (
    <>
      <PageHeader
        title="Access keys"
        lead="With a key a person signs in to this console, and a program uses the AWS SDKs and DICOMweb. A key may do what its policy says."
        actions={add}
      />
      <Tabs tabs={TABS} selected={tab} onSelect={setTab} label="Keys and sessions">
        {tab === 'sessions' ? (
          <Sessions />
        ) : (
          <Loaded resource={keys} lines={6}>
            {(all) => {
              const found = all.filter((key) => `${key.name} ${key.accessKeyId}`.toLowerCase().includes(wanted.toLowerCase()))
              return (
                <>
                  {all.length > 8 && <div class="filters"><SearchField isMain label="Find a key" value={wanted} onValue={setWanted} /></div>}
                  {found.length === 0 ? (
                    <EmptyState icon={<KeyRound />} title={wanted ? 'No key matches' : 'There are no keys'} action={wanted ? undefined : add} />
                  ) : (
                    <table class="table stacks keys" aria-label="Access keys">
                      <thead>
                        <tr>
                          <th scope="col">User</th>
                          <th scope="col">Access key</th>
                          <th scope="col">May do</th>
                          <th scope="col">Created</th>
                          <th scope="col">Ends</th>
                          <th><span class="visually-hidden">Actions</span></th>
                        </tr>
                      </thead>
                      <tbody>
                        {found.map((key) => <Row key={key.accessKeyId} of={key} show={() => setShown(key)} reload={keys.reload} />)}
                      </tbody>
                    </table>
                  )}
                  {all.isCut && <Notice look="warn">These are the {count(all.length)} newest keys; there are more. <code>lightwell key list</code> shows all of them.</Notice>}
                </>
              )
            }}
          </Loaded>
        )}
      </Tabs>
      {isMaking && <NewKey close={() => setMaking(false)} made={keys.reload} />}
      {shown !== null && <Policies of={shown} close={() => setShown(null)} />}
    </>
  )
}

function Row({ of: key, show, reload }: { of: Key; show: () => void; reload: () => void }) {
  const { route } = useLocation()
  const mayRevoke = useAllowed('iam:DeleteAccessKey', key.arn) && !key.isRoot
  const mayExplain = useAllowed('iam:SimulatePrincipalPolicy', key.arn)
  const isOver = key.expiresAt !== null && Date.parse(key.expiresAt) <= Date.now()
  const explain = () => {
    question.value = { ...question.value, who: `key:${key.accessKeyId}` }
    route('/console/policies')
  }
  const items = [
    ...(key.policies === null ? [] : [{ label: 'Show its policy', icon: <FileText />, onSelect: show }]),
    ...(mayExplain ? [{ label: 'Ask what it may do', icon: <ShieldQuestion />, onSelect: explain }] : []),
    ...(mayRevoke ? [{ label: 'Revoke', icon: <Ban />, look: 'danger' as const, onSelect: () => void revoke(key, reload) }] : [])
  ]
  return (
    <tr>
      <td data-label="User">
        <span class="row-wrap">
          <strong>{key.name}</strong>
          {key.isOwn && <Badge look="accent">you</Badge>}
        </span>
      </td>
      <td data-label="Access key"><Copyable text={key.accessKeyId} label="Copy the access key ID" /></td>
      <td data-label="May do"><Rights of={key} /></td>
      <td class="nowrap" data-label="Created"><Ago at={key.createdAt} /></td>
      <td class="nowrap" data-label="Ends">
        {key.expiresAt === null ? <span class="faint">{key.isRoot ? 'never' : 'when revoked'}</span> : isOver ? <Badge look="warn">has ended</Badge> : <Ago at={key.expiresAt} />}
      </td>
      <td class="right bare">{items.length > 0 && <Menu label={`Actions for ${key.name}`} icon={<Ellipsis />} items={items} />}</td>
    </tr>
  )
}

function Rights({ of: key }: { of: Key }) {
  if (key.isRoot) return <span>Everything <span class="faint">(root)</span></span>
  if (key.access === 'everything') return <span>Everything</span>
  if (key.policies === null) return <span class="faint">what its policy says</span>
  const named = storesOf(key.policies).map((id) => stores.value?.find((each) => each.datastoreId === id)?.datastoreName ?? `${id.slice(0, 8)}…`)
  return (
    <span>
      {summary(key.policies, config.value)}
      {named.length > 0 && <span class="faint"> of {named.slice(0, 2).join(', ')}{named.length > 2 ? ` and ${named.length - 2} more` : ''}</span>}
    </span>
  )
}

async function revoke(key: Key, reload: () => void): Promise<void> {
  const done = await confirm(
    {
      title: `Revoke the key of ${key.name}?`,
      children: (
        <>
          <p><code>{key.accessKeyId}</code> and every session begun with it stop working within a second. This cannot be undone; a new key can be made.</p>
          {key.isOwn && <p><strong>It is the key that you are signed in with: you will be signed out.</strong></p>}
        </>
      ),
      action: 'Revoke',
      look: 'danger'
    },
    () => revokeKey(key.accessKeyId)
  )
  if (!done) return
  toast(`The key of ${key.name} is revoked.`, 'good')
  reload()
}

function Policies({ of: key, close }: { of: Key; close: () => void }) {
  return (
    <Dialog title={`What ${key.name} may do`} width="wide" onClose={close} actions={<Button onClick={close}>Close</Button>}>
      <div class="stack">
        <p class="soft">The policy of a key cannot be changed: make another key, and revoke this one.</p>
        {(key.policies ?? []).map((text, index) => <pre key={index} class="policy" role="region" aria-label="Policy" tabIndex={0}>{pretty(text)}</pre>)}
      </div>
    </Dialog>
  )
}
