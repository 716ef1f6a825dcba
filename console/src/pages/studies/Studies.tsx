import { PageHeader } from '../../ui/PageHeader'

export default function Studies() {
  return <PageHeader title="Studies" />
}
