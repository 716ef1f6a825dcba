import { PageHeader } from '../../ui/PageHeader'

export default function Health() {
  return <PageHeader title="Health" />
}
