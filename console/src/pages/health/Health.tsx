import { useEffect, useState } from 'preact/hooks'
import { CircleAlert, CircleCheck, TriangleAlert } from 'lucide-preact'
import { explain, isAbort } from '../../api/errors'
import { Fact, Facts } from '../../ui/Facts'
import { SelectField } from '../../ui/Fields'
import { PageHeader } from '../../ui/PageHeader'
import { Badge, ErrorState, Progress, Skeleton } from '../../ui/States'
import { bytes, count } from '../../ui/format'
import { EVERY_MS, type Health as Found, type Installation, SPAN_MS, health, look, looks } from './health'
import { type Look, between, histogram, isWork, operations, quantile, rate, sum } from './metrics'
import { Plot, type Point } from './Plot'
import '../../ui/Table.css'
import '../policies/access.css'
import './Health.css'

/** At first it looks every second, so that there is something to see soon. */
const QUICK = 8

export default function Health() {
  const [found, setFound] = useState<Found>()
  const [error, setError] = useState<unknown>()
  const [chosen, setChosen] = useState<string | null>(null)
  const [newest, setNewest] = useState<string | null>(null)
  const [round, setRound] = useState(0)
  useEffect(() => {
    const controller = new AbortController()
    let timer: ReturnType<typeof setTimeout>
    let turns = 0
    const turn = async () => {
      if (document.visibilityState === 'visible') {
        try {
          const [state, server] = await Promise.all([health(controller.signal), look(controller.signal)])
          setFound(state)
          setNewest(server)
          setError(undefined)
        } catch (failure) {
          if (isAbort(failure)) return
          setError(failure)
        }
      }
      if (!controller.signal.aborted) timer = setTimeout(() => void turn(), turns++ < QUICK ? 1000 : EVERY_MS)
    }
    void turn()
    return () => {
      controller.abort()
      clearTimeout(timer)
    }
  }, [round])
  const servers = Object.keys(looks.value)
  const server = chosen ?? newest
  if (found === undefined) {
    return (
      <>
        <PageHeader title="Health" />
        {error === undefined ? <Skeleton lines={8} /> : <ErrorState error={error} retry={() => setRound(round + 1)} />}
      </>
    )
  }
  return (
    <>
      <PageHeader title="Health" lead={`The server looks at itself every ${EVERY_MS / 1000} seconds while this page is open.`} />
      <div class="stack health">
        <Banner found={found} error={error} />
        {servers.length > 1 && (
          <div class="filters">
            <SelectField label="Counters of server" value={server ?? ''} onValue={setChosen} options={servers.map((each) => ({ value: each, label: each }))} />
          </div>
        )}
        {server !== null && <Plots of={looks.value[server] ?? []} />}
        {found.installation !== null && <State of={found.installation} found={found} />}
        {server !== null && <Operations of={looks.value[server]?.at(-1)} />}
      </div>
    </>
  )
}

function Banner({ found, error }: { found: Found; error: unknown }) {
  const { installation } = found
  const dead = installation?.queue.filter((each) => each.state === 'dead').reduce((all, each) => all + each.units, 0) ?? 0
  const wrong: string[] = []
  const doubtful: string[] = []
  if (error !== undefined) wrong.push(`${explain(error)} What is shown here is some time old.`)
  for (const check of found.checks) if (check.code !== 'ok') wrong.push(`${check.name}: ${check.reason ?? check.code}`)
  if (found.message !== null) wrong.push(found.message)
  if (installation !== null) {
    const { workforce, diskFree, diskTotal } = installation
    if (workforce !== null && workforce.working === 0) {
      const waits = workforce.jobs === 0 ? '' : `, and ${count(workforce.jobs, 'job')} ${workforce.jobs === 1 ? 'waits' : 'wait'}`
      ;(workforce.jobs > 0 ? wrong : doubtful).push(`Nobody works on import jobs${waits}: start “lightwell worker” somewhere.`)
    }
    for (const each of installation.awaited) wrong.push(`${count(each.jobs, 'job')} ${each.jobs === 1 ? 'waits' : 'wait'} for ${each.place ?? 'a machine that never registered'}, where nothing works.`)
    if (dead > 0) doubtful.push(`${count(dead, 'unit')} of work ${dead === 1 ? 'was' : 'were'} given up: “lightwell queue dead” says why.`)
    if (diskFree / diskTotal < 0.05) doubtful.push(`The disk of the data folder is nearly full: ${bytes(diskFree)} are free.`)
    if (installation.schema !== 'current') doubtful.push(`The database schema is ${installation.schema === 'behind' ? 'older than this version: run “lightwell data migrate”' : 'newer than this version: upgrade this server'}.`)
  }
  const state = wrong.length > 0 ? 'bad' : doubtful.length > 0 ? 'warn' : 'good'
  return (
    <div class={`banner ${state}`} role="status">
      {state === 'good' ? <CircleCheck aria-hidden="true" /> : state === 'warn' ? <TriangleAlert aria-hidden="true" /> : <CircleAlert aria-hidden="true" />}
      <div>
        <strong>{state === 'good' ? 'All is well' : state === 'warn' ? 'It works, but look at this' : 'Something is wrong'}</strong>
        {[...wrong, ...doubtful].map((text) => <p key={text}>{text}</p>)}
        {state === 'good' && <p>Database and storage answer, and the schema is current.</p>}
      </div>
    </div>
  )
}

function series(all: Look[], value: (before: Look, after: Look) => number | null): Point[] {
  return all.slice(1).map((after, index) => {
    const before = all[index]!
    // After a pause, as while the page was hidden, the line is interrupted.
    return { at: after.at, value: after.at - before.at > 4 * EVERY_MS ? null : value(before, after) }
  })
}

function perSecond(value: number): string {
  return `${value === 0 || value >= 10 ? count(Math.round(value)) : value < 0.1 ? value.toFixed(2) : value.toFixed(1)}/s`
}

function seconds(value: number): string {
  return value >= 1 ? `${value.toFixed(1)} s` : value >= 0.1 ? `${Math.round(value * 1000)} ms` : `${(value * 1000).toFixed(1)} ms`
}

const whole = (value: number) => count(Math.round(value))
const flow = (value: number) => `${bytes(value)}/s`
const REQUESTS = 'lightwell_requests_total'

function Plots({ of: all }: { of: Look[] }) {
  const slow = (share: number) =>
    series(all, (before, after) => {
      const grown = between(histogram(before.metrics, 'lightwell_request_seconds', isWork), histogram(after.metrics, 'lightwell_request_seconds', isWork))
      return grown === null ? null : quantile(share, grown)
    })
  const gauge = (name: string) => all.map((each) => ({ at: each.at, value: sum(each.metrics, name) }))
  const counter = (name: string, wanted?: (labels: Record<string, string>) => boolean) => series(all, (before, after) => rate(before, after, name, wanted))
  // At first there is a minute to see, later ten.
  const span = Math.min(SPAN_MS, Math.max(60_000, (all.at(-1)?.at ?? 0) - (all[0]?.at ?? 0)))
  const failures = counter(REQUESTS, (labels) => (labels['status'] ?? '') >= '500')
  return (
    <section class="plots" aria-label="The last minutes">
      <Plot title="Requests" points={counter(REQUESTS, isWork)} show={perSecond} span={span} />
      <Plot title="Half answered within" points={slow(0.5)} show={seconds} span={span} />
      <Plot title="95 % answered within" points={slow(0.95)} show={seconds} span={span} />
      <Plot title="Failures (5xx)" points={failures} show={perSecond} span={span} look={failures.some((each) => (each.value ?? 0) > 0) ? 'bad' : 'plain'} />
      <Plot title="Sent" points={counter('lightwell_sent_bytes_total', isWork)} show={flow} span={span} />
      <Plot title="Files imported" points={counter('lightwell_import_files_total', (labels) => labels['outcome'] === 'imported')} show={perSecond} span={span} />
      <Plot title="Units of work waiting" points={gauge('lightwell_queue_ready_units')} show={whole} span={span} />
      <Plot title="Open connections" points={gauge('lightwell_connections')} show={whole} span={span} />
    </section>
  )
}

const ROLES: Record<string, string> = { serve: 'serves and works', http: 'serves only', worker: 'works only' }
const PHASES: Record<string, string> = { list: 'listing', read: 'reading', commit: 'committing', report: 'reporting' }
const STATES: Record<string, string> = { ready: 'wait', claimed: 'under way', dead: 'given up' }

function State({ of: installation, found }: { of: Installation; found: Found }) {
  const used = installation.diskTotal - installation.diskFree
  return (
    <div class="columns">
      <section class="stack-tight">
        <h2>Where things are</h2>
        <Facts>
          <Fact name="Version">{found.version}</Fact>
          <Fact name="Database"><code>{installation.databaseAddress}</code>, {bytes(installation.databaseBytes)}</Fact>
          <Fact name="Schema">{installation.schema}</Fact>
          <Fact name="Storage"><code>{installation.storage}</code></Fact>
          <Fact name="Disk">
            {bytes(installation.diskFree)} of {bytes(installation.diskTotal)} free
            <Progress label="Used space of the disk" value={used} max={installation.diskTotal} look={installation.diskFree / installation.diskTotal < 0.05 ? 'bad' : 'plain'} />
          </Fact>
          {found.checks.map((check) => (
            <Fact key={check.name} name={`Check: ${check.name}`}>{check.code === 'ok' ? <Badge look="good">ok</Badge> : <><Badge look="bad">{check.code}</Badge> {check.reason}</>}</Fact>
          ))}
        </Facts>
      </section>
      <section class="stack-tight">
        <h2>Who works</h2>
        {installation.workforce === null ? (
          <p class="soft">{found.work === 'on' ? 'This server serves and works, alone: the database is a file of SQLite.' : 'This server serves only, and no other can work: the database is a file of SQLite.'}</p>
        ) : (
          <ul class="servers">
            {installation.servers.map((each) => (
              <li key={`${each.place} ${each.role}`}>
                <Badge look={each.isAlive ? 'good' : 'plain'}>{each.isAlive ? 'runs' : 'stopped'}</Badge>
                <span class="grow">{each.place} <span class="faint">{ROLES[each.role] ?? each.role}</span></span>
                <span class="faint small">{each.isAlive ? '' : `last heard of ${age(each.heardSeconds)} ago`}</span>
              </li>
            ))}
          </ul>
        )}
        <h2>What waits</h2>
        {installation.queue.length === 0 ? (
          <p class="soft">Nothing: no import is under way.</p>
        ) : (
          <table class="table" aria-label="Units of work">
            <thead><tr><th scope="col">Phase</th><th scope="col">State</th><th scope="col" class="right">Units</th><th scope="col" class="right">Oldest</th></tr></thead>
            <tbody>
              {installation.queue.map((each) => (
                <tr key={`${each.phase} ${each.state}`}>
                  <td>{PHASES[each.phase] ?? each.phase}</td>
                  <td>{each.state === 'dead' ? <Badge look="warn">given up</Badge> : (STATES[each.state] ?? each.state)}</td>
                  <td class="right">{count(each.units)}</td>
                  <td class="right">{age(each.oldestSeconds)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>
    </div>
  )
}

function age(value: number): string {
  const [size, noun] = value >= 172_800 ? [86_400, 'day'] as const : value >= 7200 ? [3600, 'hour'] as const : value >= 120 ? [60, 'minute'] as const : [1, 'second'] as const
  return count(Math.round(value / size), noun)
}

function Operations({ of: newest }: { of: Look | undefined }) {
  if (newest === undefined) return null
  const rows = operations(newest.metrics).filter((each) => isWork({ operation: each.operation }))
  if (rows.length === 0) return null
  return (
    <section class="stack-tight">
      <h2>Operations since the server started</h2>
      <div class="table-scroll" role="region" aria-label="Operations" tabIndex={0}>
        <table class="table" aria-label="Operations">
          <thead>
            <tr>
              <th scope="col">Operation</th>
              <th scope="col" class="right">Requests</th>
              <th scope="col" class="right">Failures</th>
              <th scope="col" class="right">On average</th>
              <th scope="col" class="right">95 % within</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, 30).map((each) => (
              <tr key={each.operation}>
                <td>{each.operation}</td>
                <td class="right">{count(each.requests)}</td>
                <td class="right">{each.failures === 0 ? <span class="faint">0</span> : <Badge look="bad">{count(each.failures)}</Badge>}</td>
                <td class="right">{seconds(each.mean)}</td>
                <td class="right">{each.p95 === null ? '' : seconds(each.p95)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}
