import { useState } from 'preact/hooks'
import { useLocation } from 'preact-iso'
import { startDICOMImportJob } from '../../api/imports'
import { explain } from '../../api/errors'
import { Button } from '../../ui/Button'
import { TextField } from '../../ui/Fields'
import { Notice } from '../../ui/States'

const URI = /^s3:\/\/[a-z0-9][.\-a-z0-9]{1,61}[a-z0-9](\/.*)?$/
const ROLE = /^arn:aws(-[^:]+)?:iam::[0-9]{12}:role\/.+$/

/** StartDICOMImportJob with files that lie in a bucket. */
export function S3Form({ store }: { store: string }) {
  const { route } = useLocation()
  const [input, setInput] = useState('')
  const [output, setOutput] = useState('')
  const [role, setRole] = useState('')
  const [name, setName] = useState('')
  const [isTried, setTried] = useState(false)
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const faults = {
    input: URI.test(input) ? null : 'An address such as s3://bucket/folder/',
    output: URI.test(output) ? null : 'An address such as s3://bucket/reports/',
    role: ROLE.test(role) ? null : 'The ARN of a role, such as arn:aws:iam::000000000000:role/import',
    name: name === '' || /^[A-Za-z0-9._/#-]{1,64}$/.test(name) ? null : 'Up to 64 letters, digits and . _ / # -'
  }
  const submit = async (event: SubmitEvent) => {
    event.preventDefault()
    setTried(true)
    if (Object.values(faults).some(Boolean)) return
    setBusy(true)
    setError(undefined)
    try {
      const { jobId } = await startDICOMImportJob(store, {
        inputS3Uri: input,
        outputS3Uri: output,
        dataAccessRoleArn: role,
        clientToken: crypto.randomUUID(),
        jobName: name || undefined
      })
      route(`/console/stores/${store}/jobs/${jobId}`)
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <details class="from-s3">
      <summary><h2>From a bucket</h2></summary>
      <form class="stack" onSubmit={(event) => void submit(event)} noValidate>
        <TextField label="Files to import" placeholder="s3://bucket/folder/" value={input} onValue={setInput} error={isTried ? faults.input : null} />
        <TextField label="Where the report goes" placeholder="s3://bucket/reports/" value={output} onValue={setOutput} error={isTried ? faults.output : null} />
        <TextField label="Role that may read and write there" placeholder="arn:aws:iam::000000000000:role/…" value={role} onValue={setRole} error={isTried ? faults.role : null} />
        <TextField label="Name of the job, if you like" value={name} onValue={setName} error={isTried ? faults.name : null} hint="People who may list jobs see it: no names of patients." />
        {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
        <div><Button type="submit" look="primary" isBusy={isBusy}>Start the import</Button></div>
      </form>
    </details>
  )
}
