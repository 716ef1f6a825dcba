import { config } from '../api/config'
import { datastoreArn, useAllowed } from '../session/allowed'

/** Whether the person may import into a data store, `*` for all, from the browser; undefined until known. A hook. */
export function mayImport(store: string): boolean | undefined {
  const start = useAllowed('medical-imaging:StartDICOMImportJob', datastoreArn(store))
  const pass = useAllowed('iam:PassRole', `arn:aws:iam::${config.value.accountId}:role/lightwell-console-import-${store}`)
  return start === undefined || pass === undefined ? undefined : start && pass
}
