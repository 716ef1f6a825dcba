// Prometheus' text format 0.0.4, as /metrics has it, and what can be told from two looks at its counters.

export interface Sample {
  labels: Record<string, string>
  value: number
}

export type Metrics = Map<string, Sample[]>

const LINE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)$/
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g

export function parse(text: string): Metrics {
  const found: Metrics = new Map()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const match = LINE.exec(line)
    if (match === null) continue
    const [, name = '', labels = '', value = ''] = match
    const sample = { labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, text]) => [key!, text!])), value: Number(value) }
    const samples = found.get(name)
    if (samples === undefined) found.set(name, [sample])
    else samples.push(sample)
  }
  return found
}

export function sum(metrics: Metrics, name: string, wanted: (labels: Record<string, string>) => boolean = () => true): number {
  return (metrics.get(name) ?? []).reduce((total, each) => (wanted(each.labels) ? total + each.value : total), 0)
}

/** Requests of people and programs: neither probes nor the pages themselves, which this page causes. */
export function isWork({ operation = '' }: Record<string, string>): boolean {
  return !['Status', 'Page', 'Preflight', 'ConsoleGetMetrics', 'ConsoleGetHealth', 'ConsoleAllowed'].includes(operation)
}

export interface Histogram {
  /** Upper edges of buckets in seconds, the last infinite, and how many are below each. */
  edges: number[]
  counts: number[]
}

export function histogram(metrics: Metrics, name: string, wanted: (labels: Record<string, string>) => boolean): Histogram {
  const counts = new Map<number, number>()
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    if (!wanted(labels)) continue
    const edge = labels['le'] === '+Inf' ? Infinity : Number(labels['le'])
    counts.set(edge, (counts.get(edge) ?? 0) + value)
  }
  const edges = [...counts.keys()].sort((a, b) => a - b)
  return { edges, counts: edges.map((edge) => counts.get(edge) ?? 0) }
}

/** What came between two looks; null where the counters began anew meanwhile. */
export function between(before: Histogram, after: Histogram): Histogram | null {
  if (before.edges.length === 0) return after
  const counts = after.counts.map((value, index) => value - (before.counts[index] ?? 0))
  return counts.some((value) => value < 0) ? null : { edges: after.edges, counts }
}

/** The value below which a share of a histogram lies, in seconds, as Prometheus estimates it; null without any. */
export function quantile(share: number, { edges, counts }: Histogram): number | null {
  const total = counts.at(-1) ?? 0
  if (total === 0) return null
  const wanted = share * total
  const at = counts.findIndex((value) => value >= wanted)
  const upper = edges[at]!
  const lower = at === 0 ? 0 : edges[at - 1]!
  if (upper === Infinity) return lower
  const below = at === 0 ? 0 : counts[at - 1]!
  const inside = counts[at]! - below
  return inside === 0 ? upper : lower + ((upper - lower) * (wanted - below)) / inside
}

export interface Look {
  /** Milliseconds since the epoch. */
  at: number
  metrics: Metrics
}

/** How much a counter has grown in a second; null where it began anew meanwhile. */
export function rate(before: Look, after: Look, name: string, wanted?: (labels: Record<string, string>) => boolean): number | null {
  const grown = sum(after.metrics, name, wanted) - sum(before.metrics, name, wanted)
  const seconds = (after.at - before.at) / 1000
  return grown < 0 || seconds <= 0 ? null : grown / seconds
}

export interface OperationRow {
  operation: string
  requests: number
  failures: number
  mean: number
  p95: number | null
}

/** Each operation since the server's start, those with most requests first. */
export function operations(metrics: Metrics): OperationRow[] {
  const names = new Set((metrics.get('lightwell_requests_total') ?? []).map((each) => each.labels['operation'] ?? ''))
  return [...names]
    .map((operation) => {
      const own = (labels: Record<string, string>) => labels['operation'] === operation
      const requests = sum(metrics, 'lightwell_requests_total', own)
      return {
        operation,
        requests,
        failures: sum(metrics, 'lightwell_requests_total', (labels) => own(labels) && (labels['status'] ?? '') >= '500'),
        mean: requests === 0 ? 0 : sum(metrics, 'lightwell_request_seconds_sum', own) / requests,
        p95: quantile(0.95, histogram(metrics, 'lightwell_request_seconds', own))
      }
    })
    .sort((a, b) => b.requests - a.requests)
}
