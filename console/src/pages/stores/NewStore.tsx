import { useId, useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { explain } from '../../api/errors'
import { createDatastore } from '../../api/native'
import { loadStores } from '../../app/stores'
import { Button } from '../../ui/Button'
import { Dialog } from '../../ui/Dialog'
import { SelectField, TextField } from '../../ui/Fields'
import { Notice } from '../../ui/States'
import { toast } from '../../ui/Toasts'
import { TagsEditor } from './TagsEditor'
import { type TagRow, fault, tagsOf } from './tags'

const NAME = /^[A-Za-z0-9._/#-]{1,256}$/

export function NewStore({ onClose }: { onClose: () => void }) {
  const { route } = useLocation()
  const form = useId()
  const [name, setName] = useState('')
  const [format, setFormat] = useState('HTJ2K')
  const [authorizer, setAuthorizer] = useState('')
  const [rows, setRows] = useState<TagRow[]>([])
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const nameFault = name === '' || NAME.test(name) ? null : 'Letters, digits and . _ / # - only, without spaces, at most 256.'
  const isReady = NAME.test(name) && rows.every((row) => fault(row, rows) === null)
  const create = async () => {
    setBusy(true)
    setError(undefined)
    try {
      const made = await createDatastore({ datastoreName: name, tags: tagsOf(rows), losslessStorageFormat: format, lambdaAuthorizerArn: authorizer.trim() || undefined })
      await loadStores()
      toast(`The data store ${name} is ready.`, 'good')
      onClose()
      route(`/console/stores/${made.datastoreId}`)
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <Dialog
      title="Create a data store"
      onClose={onClose}
      isHeld={isBusy}
      actions={
        <>
          <Button onClick={onClose} disabled={isBusy}>Cancel</Button>
          <Button look="primary" type="submit" form={form} isBusy={isBusy} disabled={!isReady}>Create</Button>
        </>
      }
    >
      <form id={form} class="stack" onSubmit={(event) => { event.preventDefault(); if (isReady && !isBusy) void create() }}>
        <TextField label="Name" value={name} error={nameFault} hint="For people; programs use the id. It cannot be changed later." onValue={setName} autofocus maxLength={256} />
        <details class="more-options">
          <summary>More options</summary>
          <div class="stack">
            <SelectField label="Lossless pixels are stored as" value={format} onValue={setFormat} options={[{ value: 'HTJ2K', label: 'HTJ2K: fast, for viewers' }, { value: 'JPEG_2000_LOSSLESS', label: 'JPEG 2000 lossless' }]} />
            <TextField label="Authorizer of bearer tokens" placeholder="arn:aws:lambda:…:function:…" value={authorizer} hint="Its ARN, for DICOMweb clients that sign in by OpenID Connect." onValue={setAuthorizer} />
            <div class="stack-tight"><span class="soft small">Tags</span><TagsEditor rows={rows} onRows={setRows} /></div>
          </div>
        </details>
        {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      </form>
    </Dialog>
  )
}
