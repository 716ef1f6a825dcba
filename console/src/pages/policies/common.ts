// What people ask about most, in their words.

export interface Common {
  label: string
  action: string
  /** Of what the action is: it has to be allowed on image sets, too, or on the data store alone, or it has none. */
  on: 'imageset' | 'datastore' | 'account'
}

export const COMMON: Common[] = [
  { label: 'Search', action: 'medical-imaging:SearchImageSets', on: 'datastore' },
  { label: 'Look at images', action: 'medical-imaging:GetImageFrame', on: 'imageset' },
  { label: 'Read metadata', action: 'medical-imaging:GetImageSetMetadata', on: 'imageset' },
  { label: 'Import', action: 'medical-imaging:StartDICOMImportJob', on: 'datastore' },
  { label: 'Edit', action: 'medical-imaging:UpdateImageSetMetadata', on: 'imageset' },
  { label: 'Copy', action: 'medical-imaging:CopyImageSet', on: 'imageset' },
  { label: 'Delete', action: 'medical-imaging:DeleteImageSet', on: 'imageset' },
  { label: 'Make keys', action: 'iam:CreateAccessKey', on: 'account' }
]

/** What to ask the server so that `answered` can tell each activity in each data store. */
export function checks(stores: string[], activities: Common[]): { action: string; resource: string }[] {
  return stores.flatMap((store) =>
    activities.flatMap(({ action, on }) => [{ action, resource: store }, ...(on === 'imageset' ? [{ action, resource: `${store}/imageset/*` }] : [])])
  )
}

/** The answers by data store and activity: yes only where all that an activity needs is allowed. */
export function answered(stores: string[], activities: Common[], answers: boolean[]): boolean[][] {
  let at = 0
  return stores.map(() => activities.map(({ on }) => answers.slice(at, (at += on === 'imageset' ? 2 : 1)).every(Boolean)))
}
