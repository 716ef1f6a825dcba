// Numbers, sizes, times and DICOM values as people read them.

const number = new Intl.NumberFormat('en')

export function count(value: number, noun?: string, plural = `${noun}s`): string {
  return noun === undefined ? number.format(value) : `${number.format(value)} ${value === 1 ? noun : plural}`
}

/** Bytes in decimal units, as disks are sold. */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let at = 0
  let rest = value
  while (rest >= 999.5 && at < units.length - 1) {
    rest /= 1000
    at++
  }
  return `${at === 0 || rest >= 100 ? Math.round(rest) : rest.toPrecision(rest >= 10 ? 3 : 2)} ${units[at]}`
}

/** A time of the native API (seconds since the epoch) or of the console's (ISO 8601). */
export function dateOf(time: number | string): Date {
  return typeof time === 'number' ? new Date(time * 1000) : new Date(time)
}

export function time(value: number | string | undefined | null): string {
  if (value == null) return ''
  const date = dateOf(value)
  return Number.isNaN(date.getTime()) ? String(value) : date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
}

/** How long ago, in words: `3 minutes ago`. */
export function ago(value: number | string, now = Date.now()): string {
  const seconds = (dateOf(value).getTime() - now) / 1000
  const words = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })
  for (const [unit, size] of [['day', 86400], ['hour', 3600], ['minute', 60]] as const) {
    if (Math.abs(seconds) >= size) return words.format(Math.round(seconds / size), unit)
  }
  return Math.abs(seconds) < 5 ? 'just now' : words.format(Math.round(seconds), 'second')
}

/** A DICOM DA, `20240131`, as `2024-01-31`; anything else as it is. */
export function dicomDate(value: string | undefined | null): string {
  const found = /^(\d{4})\.?(\d{2})\.?(\d{2})$/.exec(value ?? '')
  return found === null ? (value ?? '') : `${found[1]}-${found[2]}-${found[3]}`
}

/** A DICOM TM, `101502.5`, as `10:15`; anything else as it is. */
export function dicomTime(value: string | undefined | null): string {
  const found = /^(\d{2}):?(\d{2})/.exec(value ?? '')
  return found === null ? (value ?? '') : `${found[1]}:${found[2]}`
}

/** A DICOM PN as people write it: `Doe, Jane`, with further component groups in parentheses. */
export function personName(value: string | undefined | null): string {
  const groups = (value ?? '').split('=').map((group, index) => {
    const [family = '', given = '', middle = '', prefix = '', suffix = ''] = group.split('^').map((part) => part.trim())
    const first = [prefix, given, middle].filter(Boolean).join(' ')
    // Ideographic and phonetic groups are written without a comma.
    return [[family, first].filter(Boolean).join(index === 0 ? ', ' : ' '), suffix].filter(Boolean).join(' ')
  })
  const shown = groups.filter(Boolean)
  return shown.length === 0 ? '' : shown.length === 1 ? shown[0]! : `${shown[0]} (${shown.slice(1).join(' / ')})`
}
