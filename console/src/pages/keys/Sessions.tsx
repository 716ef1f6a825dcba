import { LogOut, UserRound } from 'lucide-preact'
import { type Session, allSessions, endSession } from '../../api/access'
import { iamArn, useAllowed } from '../../session/allowed'
import { Ago } from '../../ui/Ago'
import { Button } from '../../ui/Button'
import { confirm } from '../../ui/Dialog'
import { Badge, EmptyState, Loaded, Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { count } from '../../ui/format'
import { useResource } from '../../ui/useResource'

const KINDS: Record<Session['kind'], string> = {
  link: 'link to the console',
  key: 'access key',
  role: 'role',
  token: 'identity provider'
}

/** Who is signed in, and who took a role: temporary credentials that are good now. */
export function Sessions() {
  const sessions = useResource(allSessions, [])
  const mayEnd = useAllowed('iam:DeleteAccessKey', iamArn('user/*')) === true
  return (
    <>
      {sessions.data?.isCut && <Notice look="warn">These are the {count(sessions.data.length)} newest sessions; there are more. Revoking a key or deleting a role ends all sessions of it.</Notice>}
      <Loaded resource={sessions} lines={5}>
        {(all) =>
          all.length === 0 ? (
            <EmptyState icon={<UserRound />} title="Nobody is signed in" />
          ) : (
            <table class="table stacks" aria-label="Sessions">
              <thead>
                <tr>
                  <th scope="col">Who</th>
                  <th scope="col">By</th>
                  <th scope="col">Began</th>
                  <th scope="col">Ends</th>
                  <th><span class="visually-hidden">Actions</span></th>
                </tr>
              </thead>
              <tbody>
                {all.map((one) => (
                  <tr key={one.accessKeyId}>
                    <td data-label="Who">
                      <span class="row-wrap">
                        <strong>{one.name}</strong>
                        {one.isOwn && <Badge look="accent">you</Badge>}
                      </span>
                      {one.subject !== null && <div class="faint" title={one.provider ?? undefined}>{one.subject}</div>}
                    </td>
                    <td data-label="By">{KINDS[one.kind]}</td>
                    <td class="nowrap" data-label="Began"><Ago at={one.createdAt} /></td>
                    <td class="nowrap" data-label="Ends"><Ago at={one.expiresAt} /></td>
                    <td class="right bare">
                      {mayEnd && !one.isOwn && <Button icon={<LogOut />} onClick={() => void end(one, sessions.reload)}>End</Button>}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )
        }
      </Loaded>
    </>
  )
}

async function end(one: Session, reload: () => void): Promise<void> {
  const done = await confirm(
    {
      title: `End the session of ${one.name}?`,
      children: <p>Whoever uses it is signed out within a second, here and in every program. They may sign in again, unless their key is revoked or their role no longer trusts them.</p>,
      action: 'End it',
      look: 'danger'
    },
    () => endSession(one.accessKeyId)
  )
  if (!done) return
  toast(`The session of ${one.name} has ended.`, 'good')
  reload()
}
