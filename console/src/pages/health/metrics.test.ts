import { expect, test } from 'vitest'
import { between, histogram, isWork, operations, parse, quantile, rate, sum } from './metrics'

const text = (gets: number, failures = 0) => `# HELP lightwell_requests_total Requests answered
# TYPE lightwell_requests_total counter
lightwell_requests_total{operation="GetImageFrame",status="200"} ${gets}
lightwell_requests_total{operation="GetImageFrame",status="503"} ${failures}
lightwell_requests_total{operation="Status",status="200"} 7
lightwell_request_seconds_bucket{operation="GetImageFrame",le="0.001"} ${gets / 2}
lightwell_request_seconds_bucket{operation="GetImageFrame",le="0.01"} ${gets}
lightwell_request_seconds_bucket{operation="GetImageFrame",le="+Inf"} ${gets}
lightwell_request_seconds_sum{operation="GetImageFrame"} ${gets / 100}
lightwell_connections 3
`

test('reads the text format', () => {
  const metrics = parse(text(10, 2))
  expect(sum(metrics, 'lightwell_connections')).toBe(3)
  expect(sum(metrics, 'lightwell_requests_total', isWork)).toBe(12)
  expect(parse('x{a="b\\"c",d="e"} 1e3').get('x')).toEqual([{ labels: { a: 'b\\"c', d: 'e' }, value: 1000 }])
  expect(operations(metrics)[0]).toMatchObject({ operation: 'GetImageFrame', requests: 12, failures: 2 })
})

test('tells rates, and none where the server began anew', () => {
  const before = { at: 0, metrics: parse(text(10)) }
  const after = { at: 5000, metrics: parse(text(30)) }
  expect(rate(before, after, 'lightwell_requests_total', isWork)).toBe(4)
  expect(rate(after, { ...before, at: 9000 }, 'lightwell_requests_total')).toBeNull()
})

test('estimates quantiles as Prometheus does', () => {
  const own = () => true
  const made = between(histogram(parse(text(10)), 'lightwell_request_seconds', own), histogram(parse(text(30)), 'lightwell_request_seconds', own))!
  expect(made.counts).toEqual([10, 20, 20])
  expect(quantile(0.5, made)).toBeCloseTo(0.001)
  expect(quantile(0.75, made)).toBeCloseTo(0.0055)
  expect(quantile(0.5, { edges: [], counts: [] })).toBeNull()
})
