import { Check, Minus } from 'lucide-preact'
import { simulatePolicy } from '../../api/access'
import { activeStores } from '../../app/stores'
import { datastoreArn } from '../../session/allowed'
import { ErrorState, Skeleton } from '../../ui/States'
import { useResource } from '../../ui/useResource'
import { COMMON, answered, checks } from './common'
import { syntaxFault } from './PolicyEditor'
import { question, subjectOf } from './question'
import '../../ui/Table.css'

const ACTIVITIES = COMMON.filter((each) => each.on !== 'account')
const MOST = 20

/** What somebody may do in each data store; a click asks why. */
export function Glance() {
  const asked = question.value
  const stores = activeStores.value.slice(0, MOST)
  const isReady = asked.who !== '' && stores.length > 0 && (asked.who !== 'draft' || syntaxFault(asked.draft) === null)
  const arns = stores.map((each) => datastoreArn(each.datastoreId))
  const found = useResource(
    async (signal) => (isReady ? answered(arns, ACTIVITIES, await simulatePolicy(subjectOf(asked), checks(arns, ACTIVITIES), signal)) : null),
    [isReady, asked.who, asked.who === 'draft' ? asked.draft : '', arns.join()]
  )
  if (!isReady) return null
  return (
    <section class="glance stack-tight">
      <h2>At a glance</h2>
      <p class="soft">What they may do in each data store, other conditions aside. Choose a mark to see why.</p>
      {found.error !== undefined ? (
        <ErrorState error={found.error} retry={found.reload} />
      ) : found.data == null ? (
        <Skeleton lines={3} />
      ) : (
        <div class="table-scroll" role="region" aria-label="What they may do in each data store" tabIndex={0}>
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Data store</th>
                {ACTIVITIES.map((each) => <th key={each.action} scope="col" class="mid">{each.label}</th>)}
              </tr>
            </thead>
            <tbody>
              {stores.map((store, row) => (
                <tr key={store.datastoreId}>
                  <th scope="row">{store.datastoreName ?? store.datastoreId}</th>
                  {ACTIVITIES.map(({ action, label }, column) => {
                    const may = found.data?.[row]?.[column] ?? false
                    return (
                      <td key={action} class="mid">
                        <button type="button" class={`policy-mark ${may ? 'good' : ''}`} aria-label={`${label} in ${store.datastoreName ?? store.datastoreId}: ${may ? 'yes' : 'no'}. Why?`} onClick={() => (question.value = { ...question.value, action, resource: arns[row]! })}>
                          {may ? <Check aria-hidden="true" /> : <Minus aria-hidden="true" />}
                        </button>
                      </td>
                    )
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  )
}
