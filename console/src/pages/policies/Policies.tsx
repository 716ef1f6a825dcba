import { PageHeader } from '../../ui/PageHeader'

export default function Policies() {
  return <PageHeader title="Policies" />
}
