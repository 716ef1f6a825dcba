// Which instances a person means by `1-20, 35`, and how CopyImageSet is told.

import type { InstanceSummary } from './metadata'

export interface Choice {
  uids: string[]
  /** What names nothing. */
  unknown: string[]
}

/** Instances by number, by ranges of numbers or by UID, separated by commas or blanks. */
export function chosen(text: string, instances: readonly InstanceSummary[]): Choice {
  const uids = new Set<string>()
  const unknown: string[] = []
  for (const part of text.replace(/\s*[-–]\s*/g, '-').split(/[\s,;]+/).filter(Boolean)) {
    const range = /^(\d+)-(\d+)$/.exec(part)
    const found = range !== null
      ? instances.filter((each) => /^\d+$/.test(each.number) && Number(each.number) >= Number(range[1]) && Number(each.number) <= Number(range[2]))
      : instances.filter((each) => each.uid === part || (each.number !== '' && (each.number === part || Number(each.number) === Number(part))))
    if (found.length === 0) unknown.push(part)
    for (const each of found) uids.add(each.uid)
  }
  return { uids: [...uids], unknown }
}

/** The server's words for a copy that failed, as they are said to clients of the API, in those of the console. */
export function whyNotCopied(message: string | undefined): string {
  if (message === undefined) return 'The copy failed.'
  if (/is in DestinationImageSet already/.test(message)) {
    return 'The image set that it would join has these instances already. To put this one in its place, delete that one first.'
  }
  const level = /INVALID_REQUEST:\s+(\w+) of SourceImageSet and DestinationImageSet don't match/.exec(message)?.[1]
  if (level !== undefined) return `What is said about the ${level.toLowerCase()} differs from the image set that it would join.`
  return message.replace(/^INVALID_REQUEST:\s+/, '')
}

export function copiable(seriesUid: string, uids: readonly string[]): string {
  return JSON.stringify({ SchemaVersion: '1.1', Study: { Series: { [seriesUid]: { Instances: Object.fromEntries(uids.map((uid) => [uid, {}])) } } } })
}
