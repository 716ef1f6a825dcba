// What differs between two versions, in the order in which a person reads it.

export interface ElementDiff {
  /** `ProcedureCodeSequence[0].CodeValue` */
  element: string
  vr: string
  oldVr?: string
  old?: unknown
  new?: unknown
  /** Of a value that was too long to be sent, how many bytes it has; `old` is then its beginning. */
  oldLength?: number
  newLength?: number
}

export interface LevelDiff {
  level: string
  versionId: string | null
  elements: ElementDiff[]
  moreElements?: number
}

export interface InstanceDiff {
  change: 'added' | 'removed' | 'changed' | 'replaced'
  SOPInstanceUID: string
  oldSOPInstanceUID?: string
  InstanceNumber?: number
  versionId: string | null
  elements?: ElementDiff[]
  moreElements?: number
  frames?: { old: number; new: number; differing: number; first: number[] }
}

/** Instances of which the same was changed in the same way. */
export interface InstanceGroup {
  id: string
  change: InstanceDiff['change']
  instances: InstanceDiff[]
  /** Those of the first; all others have the same. */
  elements: ElementDiff[]
  moreElements: number
}

const ORDER = ['replaced', 'changed', 'added', 'removed']

/** Instances that were changed alike, together: 140 slices with a new window are one group. */
export function grouped(instances: readonly InstanceDiff[]): InstanceGroup[] {
  const groups = new Map<string, InstanceGroup>()
  for (const each of instances) {
    const renamed = each.oldSOPInstanceUID !== undefined
    const framesKey = each.frames === undefined ? '' : `${each.frames.old}>${each.frames.new}:${each.frames.differing}`
    const id = each.change === 'added' || each.change === 'removed' ? each.change : `${each.change}:${framesKey}:${renamed ? each.SOPInstanceUID : ''}:${JSON.stringify(each.elements ?? [])}`
    const group = groups.get(id)
    if (group === undefined) groups.set(id, { id, change: each.change, instances: [each], elements: each.elements ?? [], moreElements: each.moreElements ?? 0 })
    else group.instances.push(each)
  }
  return [...groups.values()].sort((one, other) => ORDER.indexOf(one.change) - ORDER.indexOf(other.change))
}

/** `1–3, 7, 9–12`; those without a number are left out. */
export function ranges(numbers: readonly (number | undefined)[], most = 8): string {
  const sorted = [...new Set(numbers.filter((each) => each !== undefined))].sort((one, other) => one - other)
  const parts: string[] = []
  for (let at = 0; at < sorted.length; ) {
    let end = at
    while (end + 1 < sorted.length && sorted[end + 1] === sorted[end]! + 1) end++
    parts.push(end === at ? String(sorted[at]) : end === at + 1 ? `${sorted[at]}, ${sorted[end]}` : `${sorted[at]}–${sorted[end]}`)
    at = end + 1
  }
  return parts.length > most ? `${parts.slice(0, most).join(', ')} and more` : parts.join(', ')
}

export interface Piece {
  text: string
  isChanged: boolean
}

/** Two texts in pieces, so that what differs between them stands out: words, components and values that changed, whole. */
export function pieces(old: string, now: string): { old: Piece[]; now: Piece[] } {
  const one = parts(old)
  const other = parts(now)
  const shorter = Math.min(one.length, other.length)
  let head = 0
  while (head < shorter && one[head] === other[head]) head++
  let tail = 0
  while (tail < shorter - head && one[one.length - 1 - tail] === other[other.length - 1 - tail]) tail++
  const cut = (all: string[]): Piece[] =>
    [
      { text: all.slice(0, head).join(''), isChanged: false },
      { text: all.slice(head, all.length - tail).join(''), isChanged: true },
      { text: all.slice(all.length - tail).join(''), isChanged: false }
    ].filter((each) => each.text !== '')
  return { old: cut(one), now: cut(other) }
}

/** Words and what separates them: blanks, values by a backslash, components by ^ and =, parts of UIDs and paths. */
function parts(text: string): string[] {
  return text.split(/([\s\\^=./]+)/).filter((each) => each !== '')
}

/** `ProcedureCodeSequence[0].CodeValue` as `ProcedureCodeSequence › item 1 › CodeValue`, the last part apart. */
export function pathParts(element: string): { above: string; key: string } {
  const parts = element.split('.').map((part) => part.replace(/\[(\d+)\]$/, (_, place: string) => ` › item ${Number(place) + 1}`))
  const key = parts.pop() ?? ''
  return { above: parts.join(' › '), key }
}
