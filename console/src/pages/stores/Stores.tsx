import { PageHeader } from '../../ui/PageHeader'

export default function Stores() {
  return <PageHeader title="Data stores" />
}
