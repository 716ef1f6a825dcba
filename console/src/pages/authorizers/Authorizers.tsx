import { useState } from 'preact/hooks'
import { Ellipsis, Pencil, Plus, RefreshCw, ShieldCheck, Trash2 } from 'lucide-preact'
import { type Authorizer, deleteAuthorizer, listAuthorizers, putAuthorizer } from '../../api/access'
import { config } from '../../api/config'
import { explain } from '../../api/errors'
import { useAllowed } from '../../session/allowed'
import { Button } from '../../ui/Button'
import { Copyable } from '../../ui/Copyable'
import { Dialog, confirm } from '../../ui/Dialog'
import { TextField } from '../../ui/Fields'
import { Menu } from '../../ui/Menu'
import { PageHeader } from '../../ui/PageHeader'
import { Badge, Loaded, Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { useResource } from '../../ui/useResource'
import '../../ui/Table.css'
import '../policies/access.css'

export default function Authorizers() {
  const authorizers = useResource(listAuthorizers, [])
  const { region, accountId } = config.value
  const mayPut = useAllowed('lambda:UpdateFunctionCode', `arn:aws:lambda:${region}:${accountId}:function:*`)
  const [edited, setEdited] = useState<Authorizer | 'new' | null>(null)
  return (
    <>
      <PageHeader
        title="Authorizers"
        lead="A data store may name a Lambda function that decides about bearer tokens of DICOMweb clients. Here stands what answers in the place of each function."
        actions={mayPut && <Button look="primary" icon={<Plus />} onClick={() => setEdited('new')}>Add authorizer</Button>}
      />
      <Loaded resource={authorizers} lines={4}>
        {(all) => (
          <table class="table stacks" aria-label="Authorizers">
            <thead>
              <tr>
                <th scope="col">Lambda function</th>
                <th scope="col">Answered by</th>
                <th scope="col">Data stores that name it</th>
                <th><span class="visually-hidden">Actions</span></th>
              </tr>
            </thead>
            <tbody>
              {all.map((each) => <Row key={each.arn} of={each} edit={() => setEdited(each)} reload={authorizers.reload} />)}
            </tbody>
          </table>
        )}
      </Loaded>
      {edited !== null && <Target of={edited === 'new' ? null : edited} close={() => setEdited(null)} done={authorizers.reload} />}
    </>
  )
}

function Row({ of: each, edit, reload }: { of: Authorizer; edit: () => void; reload: () => void }) {
  const mayPut = useAllowed('lambda:UpdateFunctionCode', each.arn)
  const mayDelete = useAllowed('lambda:DeleteFunction', each.arn)
  const again = async () => {
    try {
      await putAuthorizer(each.arn, each.target ?? '')
      toast('Its code is loaded anew at the next token.', 'good')
      reload()
    } catch (error) {
      toast(explain(error), 'bad')
    }
  }
  const items = [
    ...(mayPut && each.kind !== 'builtin' ? [{ label: each.kind === 'missing' ? 'Set what answers' : 'Change what answers', icon: <Pencil />, onSelect: edit }] : []),
    ...(mayPut && each.kind === 'python' ? [{ label: 'Load its code anew', icon: <RefreshCw />, onSelect: () => void again() }] : []),
    ...(mayDelete && each.createdAt !== null ? [{ label: 'Remove what answers', icon: <Trash2 />, look: 'danger' as const, onSelect: () => void remove(each, reload) }] : [])
  ]
  return (
    <tr>
      <td data-label="Lambda function">
        <div class="function">
        {each.kind === 'builtin' ? <span class="row-wrap"><strong>Built in</strong><span class="soft small">trusts the tokens of <code>lightwell token</code></span></span> : <strong>{each.arn.split(':function:')[1] ?? each.arn}</strong>}
        <div class="arn faint small"><Copyable text={each.arn} label="Copy the ARN" /></div>
        </div>
      </td>
      <td data-label="Answered by">
        {each.kind === 'builtin' ? <span class="row"><ShieldCheck size={16} aria-hidden="true" /> this server</span> : each.kind === 'missing' ? <Badge look="warn">nothing: tokens are refused</Badge> : <code class="target">{each.target}</code>}
      </td>
      <td data-label="Used by">
        {each.datastores.length === 0 ? <span class="faint">none</span> : <span class="row-wrap">{each.datastores.slice(0, 5).map((store) => <a key={store.datastoreId} href={`/console/stores/${store.datastoreId}`}>{store.name}</a>)}{each.datastores.length > 5 && <span class="faint">and {each.datastores.length - 5} more</span>}</span>}
      </td>
      <td class="right bare">{items.length > 0 && <Menu label={`Actions for ${each.arn.split(':').pop()}`} icon={<Ellipsis />} items={items} />}</td>
    </tr>
  )
}

async function remove(each: Authorizer, reload: () => void): Promise<void> {
  const done = await confirm(
    {
      title: `Remove what answers for ${each.arn.split(':').pop()}?`,
      children: each.datastores.length === 0 ? 'No data store names it. It can be set again.' : `Bearer tokens for ${each.datastores.map((store) => store.name).join(', ')} are refused from then on. It can be set again.`,
      action: 'Remove',
      look: 'danger'
    },
    () => deleteAuthorizer(each.arn)
  )
  if (done) reload()
}

function Target({ of: each, close, done }: { of: Authorizer | null; close: () => void; done: () => void }) {
  const { region, accountId } = config.value
  const prefix = `arn:aws:lambda:${region}:${accountId}:function:`
  const [name, setName] = useState('')
  const [target, setTarget] = useState(each?.kind === 'http' ? (each.target ?? '') : '')
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const arn = each?.arn ?? (name.startsWith('arn:') ? name : prefix + name)
  const save = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    setError(undefined)
    try {
      await putAuthorizer(arn, target.trim(), each === null)
      done()
      close()
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <Dialog
      title={each === null ? 'Add an authorizer' : `What answers for ${arn.split(':').pop()}?`}
      onClose={close}
      isHeld={isBusy}
      actions={
        <>
          <Button onClick={close} disabled={isBusy}>Cancel</Button>
          <Button look="primary" type="submit" form="authorizer" isBusy={isBusy} disabled={target.trim() === '' || (each === null && name.trim() === '')}>Save</Button>
        </>
      }
    >
      <form id="authorizer" class="stack" onSubmit={(event) => void save(event)} noValidate>
        {each === null && <TextField label="Function" placeholder="dicomweb-tokens" value={name} onValue={setName} autofocus hint={<>Its name or ARN, as data stores name it: <code class="target">{arn}</code></>} />}
        <TextField label="Address" type="url" placeholder="https://auth.example.org/2015-03-31/functions/function/invocations" value={target} onValue={setTarget} hint="A Lambda Invoke API. It gets each token once every few seconds, and answers with a role." />
        <p class="faint small">A function in Python runs on the server’s machine, so it is named there: <code>lightwell authorizer put {arn.split(':').pop()} python:PACKAGE.MODULE:FUNCTION</code></p>
        {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      </form>
    </Dialog>
  )
}
