import { X } from 'lucide-preact'
import { cancelJob } from '../../api/imports'
import { explain } from '../../api/errors'
import { datastoreArn, useAllowed } from '../../session/allowed'
import { Button } from '../../ui/Button'
import { Copyable } from '../../ui/Copyable'
import { confirm } from '../../ui/Dialog'
import { Fact, Facts } from '../../ui/Facts'
import { PageHeader } from '../../ui/PageHeader'
import { ErrorState, Notice, Skeleton } from '../../ui/States'
import { time } from '../../ui/format'
import { JobBadge, JobBars, jobTitle } from '../../uploads/JobBars'
import { JobResult } from './JobResult'
import { useJob } from './useJob'

export function JobPage({ store, id }: { store: string; id: string }) {
  const { job, error, set, reload } = useJob(store, id)
  const mayCancel = useAllowed('medical-imaging:StartDICOMImportJob', datastoreArn(store))
  if (job === undefined) return error === undefined ? <><PageHeader title="Job" /><Skeleton /></> : <ErrorState error={error} retry={reload} />
  const cancel = () =>
    confirm(
      {
        title: 'Cancel the import?',
        children: 'Files that are in image sets already stay there. The others are not imported, and the job becomes FAILED.',
        action: 'Cancel the import',
        look: 'danger'
      },
      async () => set(await cancelJob(store, id))
    )
  return (
    <div class="stack">
      <p><a href={`/console/stores/${store}/jobs`}>Jobs</a></p>
      <PageHeader
        title={jobTitle(job)}
        lead={<JobBadge job={job} />}
        actions={job.phase !== 'done' && mayCancel && <Button icon={<X />} onClick={() => void cancel()}>Cancel</Button>}
      />
      {error !== undefined && <Notice look="warn">{explain(error)}</Notice>}
      <JobBars job={job} />
      <JobResult store={store} job={job} />
      <section class="job-facts stack-tight">
        <h2>About this job</h2>
        <Facts>
          <Fact name="Job ID"><Copyable text={job.jobId} label="Copy the job ID" /></Fact>
          <Fact name="Submitted">{time(job.submittedAt)}</Fact>
          {job.endedAt !== null && <Fact name="Ended">{time(job.endedAt)}</Fact>}
          <Fact name="Started by">{job.startedBy}</Fact>
          <Fact name="Read from">{job.inputS3Uri}</Fact>
          <Fact name="Report in">{job.outputS3Uri}</Fact>
        </Facts>
      </section>
    </div>
  )
}
