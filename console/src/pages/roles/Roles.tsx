import { useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { Ellipsis, Pencil, Plus, ShieldQuestion, Trash2, UserCog } from 'lucide-preact'
import { type Role, allRoles, deleteRole } from '../../api/access'
import { config } from '../../api/config'
import { stores } from '../../app/stores'
import { iamArn, useAllowed } from '../../session/allowed'
import { Ago } from '../../ui/Ago'
import { Button } from '../../ui/Button'
import { Copyable } from '../../ui/Copyable'
import { confirm } from '../../ui/Dialog'
import { Menu } from '../../ui/Menu'
import { PageHeader } from '../../ui/PageHeader'
import { EmptyState, Loaded, Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { count } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import { storesOf, summary } from '../policies/templates'
import { question } from '../policies/question'
import { RoleDialog } from './RoleDialog'
import { trusted } from './templates'
import '../../ui/Table.css'
import '../policies/access.css'

export default function Roles() {
  const roles = useResource(allRoles, [])
  const mayCreate = useAllowed('iam:CreateRole', iamArn('role/*'))
  const [edited, setEdited] = useState<Role | 'new' | null>(null)
  const add = mayCreate && <Button look="primary" icon={<Plus />} onClick={() => setEdited('new')}>Create role</Button>
  return (
    <>
      <PageHeader title="Roles" lead="A role is a set of rights that others take for some hours: people who sign in with an identity provider, users, and imports." actions={add} />
      <Loaded resource={roles} lines={5}>
        {(all) =>
          all.length === 0 ? (
            <EmptyState icon={<UserCog />} title="There are no roles" action={add}>Keys work without. A role is needed for sign-in with an identity provider, and for imports from buckets by users who have policies.</EmptyState>
          ) : (
            <table class="table stacks" aria-label="Roles">
              <thead>
                <tr>
                  <th scope="col">Role</th>
                  <th scope="col">Who may take it</th>
                  <th scope="col">May do</th>
                  <th scope="col">ARN</th>
                  <th scope="col">Changed</th>
                  <th><span class="visually-hidden">Actions</span></th>
                </tr>
              </thead>
              <tbody>
                {all.map((role) => <Row key={role.name} of={role} edit={() => setEdited(role)} reload={roles.reload} />)}
              </tbody>
            </table>
          )
        }
      </Loaded>
      {roles.data?.isCut && <Notice look="warn">These are the first {count(roles.data.length)} roles by name; there are more. <code>lightwell role list</code> shows all of them.</Notice>}
      {edited !== null && <RoleDialog role={edited === 'new' ? null : edited} close={() => setEdited(null)} done={roles.reload} />}
    </>
  )
}

function Row({ of: role, edit, reload }: { of: Role; edit: () => void; reload: () => void }) {
  const { route } = useLocation()
  const mayPut = useAllowed('iam:PutRolePolicy', role.arn)
  const mayTrust = useAllowed('iam:UpdateAssumeRolePolicy', role.arn)
  const mayDelete = useAllowed('iam:DeleteRole', role.arn)
  const mayExplain = useAllowed('iam:SimulatePrincipalPolicy', role.arn)
  const explain = () => {
    question.value = { ...question.value, who: `role:${role.name}` }
    route('/console/policies')
  }
  const items = [
    ...(mayPut && mayTrust && role.policies !== null ? [{ label: 'Change its policies', icon: <Pencil />, onSelect: edit }] : []),
    ...(mayExplain ? [{ label: 'Ask what it may do', icon: <ShieldQuestion />, onSelect: explain }] : []),
    ...(mayDelete ? [{ label: 'Delete', icon: <Trash2 />, look: 'danger' as const, onSelect: () => void remove(role, reload) }] : [])
  ]
  const named = storesOf(role.policies ?? []).map((id) => stores.value?.find((each) => each.datastoreId === id)?.datastoreName ?? `${id.slice(0, 8)}…`)
  return (
    <tr>
      <td data-label="Role" class="role-name"><strong>{role.name}</strong></td>
      <td data-label="Who may take it">{role.trustPolicy === null ? <span class="faint">what its policy says</span> : trusted(role.trustPolicy)}</td>
      <td data-label="May do">
        <span>
          {role.policies === null ? <span class="faint">what its policy says</span> : summary(role.policies, config.value)}
          {named.length > 0 && <span class="faint"> of {named.slice(0, 2).join(', ')}{named.length > 2 ? ` and ${named.length - 2} more` : ''}</span>}
        </span>
      </td>
      <td data-label="ARN" class="arn"><Copyable text={role.arn} label="Copy the ARN" /></td>
      <td class="nowrap" data-label="Changed"><Ago at={role.updatedAt} /></td>
      <td class="right bare">{items.length > 0 && <Menu label={`Actions for ${role.name}`} icon={<Ellipsis />} items={items} />}</td>
    </tr>
  )
}

async function remove(role: Role, reload: () => void): Promise<void> {
  const done = await confirm(
    {
      title: `Delete the role ${role.name}?`,
      children: 'Its sessions end within seconds: whoever uses it now is refused. This cannot be undone; a role made later under its name is another one.',
      action: 'Delete',
      look: 'danger'
    },
    () => deleteRole(role.name)
  )
  if (!done) return
  toast(`The role ${role.name} is deleted.`, 'good')
  reload()
}
