import { PageHeader } from '../../ui/PageHeader'

export default function StoreDetails() {
  return <PageHeader title="Data store" />
}
