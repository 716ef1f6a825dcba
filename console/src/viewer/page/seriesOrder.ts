// The series of a study, from several image sets, in the order of the list.

import type { Series } from '../model/document'

/** With the series of one more image set, unless it is there already: an attempt that failed may have brought it. */
export function joined(known: readonly Series[], more: readonly Series[]): readonly Series[] {
  const sets = new Set(known.map(({ origin }) => origin.imageSetId))
  const added = more.filter(({ origin }) => !sets.has(origin.imageSetId))
  return added.length === 0 ? known : inOrder([...known, ...added])
}

/** Whether all series name the same patient. */
export function areOfOnePatient(series: readonly Series[]): boolean {
  return new Set(series.map(({ attributes }) => `${attributes.text('PatientID')}\n${attributes.text('PatientName')}`)).size <= 1
}

function inOrder(series: readonly Series[]): Series[] {
  const key = (one: Series): number => one.attributes.number('SeriesNumber') ?? Infinity
  return [...series].sort((a, b) => {
    const [one, other] = [key(a), key(b)]
    if (one !== other) return one < other ? -1 : 1
    return a.uid < b.uid ? -1 : a.uid > b.uid ? 1 : 0
  })
}
