import { PageHeader } from '../../ui/PageHeader'

export default function Keys() {
  return <PageHeader title="Keys" />
}
