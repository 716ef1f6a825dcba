import { PageHeader } from '../../ui/PageHeader'

export default function Authorizers() {
  return <PageHeader title="Authorizers" />
}
