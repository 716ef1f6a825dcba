import { PageHeader } from '../../ui/PageHeader'

export default function Events() {
  return <PageHeader title="Events" />
}
