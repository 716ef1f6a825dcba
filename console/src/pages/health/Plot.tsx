import { useId, useState } from 'preact/hooks'

export interface Point {
  /** Milliseconds since the epoch. */
  at: number
  /** Null where nothing is known, which interrupts the line. */
  value: number | null
}

const WIDTH = 320
const HEIGHT = 72

/** The least round number that is not below `value`: 1, 2 or 5 times a power of ten. */
export function ceiling(value: number): number {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value) ?? 10 * power
}

/** The parts of a line between gaps, as paths of SVG. */
export function paths(points: Point[], from: number, to: number, top: number): { line: string; area: string }[] {
  const x = (at: number) => Math.round(((at - from) / Math.max(1, to - from)) * WIDTH * 10) / 10
  const y = (value: number) => Math.round((HEIGHT - (Math.min(value, top) / top) * (HEIGHT - 4)) * 10) / 10
  const runs: Point[][] = [[]]
  for (const point of points) {
    if (point.value === null) runs.push([])
    else runs.at(-1)!.push(point)
  }
  return runs
    .filter((run) => run.length > 0)
    .map((run) => {
      const line = run.map(({ at, value }, index) => `${index === 0 ? 'M' : 'L'}${x(at)} ${y(value!)}`).join('')
      return { line, area: `${line}L${x(run.at(-1)!.at)} ${HEIGHT}L${x(run[0]!.at)} ${HEIGHT}Z` }
    })
}

/** A small plot of one number over the last minutes. Its newest value stands above it, or that under the pointer. */
export function Plot({ title, points, show, span, look = 'plain' }: { title: string; points: Point[]; show: (value: number) => string; span: number; look?: 'plain' | 'bad' }) {
  const [hovered, setHovered] = useState<number | null>(null)
  const heading = useId()
  const to = points.at(-1)?.at ?? 0
  const from = to - span
  const inside = points.filter((point) => point.at >= from)
  const values = inside.flatMap((point) => (point.value === null ? [] : [point.value]))
  const top = ceiling(Math.max(0, ...values))
  const known = inside.filter((point) => point.value !== null)
  const pointed = hovered === null ? undefined : known.reduce<Point | undefined>((best, point) => (best === undefined || Math.abs(point.at - hovered) < Math.abs(best.at - hovered) ? point : best), undefined)
  const told = pointed ?? known.at(-1)
  const said = told === undefined ? 'not known yet' : show(told.value!)
  return (
    <figure class={`plot ${look}`} aria-labelledby={heading}>
      <figcaption id={heading}>
        <span class="soft small">{title}</span>
        <span class="value number">{told === undefined ? '–' : said}</span>
        <span class="faint small number">{pointed !== undefined ? new Date(pointed.at).toLocaleTimeString() : values.length > 1 ? `up to ${show(Math.max(...values))}` : ' '}</span>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${said}`}
        onPointerMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect()
          setHovered(from + ((event.clientX - box.left) / box.width) * span)
        }}
        onPointerLeave={() => setHovered(null)}
      >
        <line class="ground" x1="0" x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} />
        {paths(inside, from, to, top).map(({ line, area }, index) => (
          <g key={index}>
            <path class="area" d={area} />
            <path class="line" d={line} />
          </g>
        ))}
        {pointed !== undefined && <line class="pointer" x1={((pointed.at - from) / span) * WIDTH} x2={((pointed.at - from) / span) * WIDTH} y1="0" y2={HEIGHT} />}
      </svg>
    </figure>
  )
}
