import { PageHeader } from '../../ui/PageHeader'

export default function Import() {
  return <PageHeader title="Import" />
}
