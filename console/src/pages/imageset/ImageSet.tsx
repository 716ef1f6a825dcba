import { PageHeader } from '../../ui/PageHeader'

export default function ImageSet() {
  return <PageHeader title="Image set" />
}
