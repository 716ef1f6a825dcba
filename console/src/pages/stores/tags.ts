// Tags of a resource while they are edited, and what has to be sent for them.

export interface TagRow {
  key: string
  value: string
}

const KEY = /^(?!aws:)[a-zA-Z+\-=._:/]{1,128}$/

export function rowsOf(tags: Record<string, string>): TagRow[] {
  return Object.entries(tags)
    .map(([key, value]) => ({ key, value }))
    .sort((one, other) => (one.key < other.key ? -1 : 1))
}

/** What is wrong with a row; null if nothing is. Rows without key and value are left out. */
export function fault(row: TagRow, rows: TagRow[]): string | null {
  if (row.key === '') return row.value === '' ? null : 'A tag needs a key.'
  if (!KEY.test(row.key)) return 'A key has letters and + - = . _ : / only, at most 128, and does not begin with aws:'
  if (row.value.length > 256) return 'A value has at most 256 characters.'
  if (rows.filter((other) => other.key === row.key).length > 1) return 'This key is there twice.'
  return null
}

export function tagsOf(rows: TagRow[]): Record<string, string> {
  return Object.fromEntries(rows.filter((row) => row.key !== '').map((row) => [row.key, row.value]))
}

/** What to add or overwrite, and which keys to remove. */
export function changes(before: Record<string, string>, rows: TagRow[]): { put: Record<string, string>; remove: string[] } {
  const after = tagsOf(rows)
  return {
    put: Object.fromEntries(Object.entries(after).filter(([key, value]) => before[key] !== value)),
    remove: Object.keys(before).filter((key) => !(key in after))
  }
}
