import { PageHeader } from '../../ui/PageHeader'

export default function Roles() {
  return <PageHeader title="Roles" />
}
