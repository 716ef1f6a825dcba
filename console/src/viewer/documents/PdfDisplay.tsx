// Encapsulated PDF: shown by the browser's own reader, in a frame of its own.

import { useEffect, useState } from 'preact/hooks'
import { Download } from 'lucide-preact'
import type { Instance } from '../model/document'
import type { ViewerState } from '../page/viewerState'
import type { DisplayProps } from '../registry'
import { ButtonLink } from '../../ui/Button'
import { ErrorState, Skeleton } from '../../ui/States'
import { useResource } from '../../ui/useResource'
import { Pages } from './Pages'

export default function PdfDisplay({ set, viewer }: DisplayProps) {
  return <Pages instances={set.instances}>{(instance) => <Pdf key={instance.uid} instance={instance} viewer={viewer} />}</Pages>
}

function Pdf({ instance, viewer }: { instance: Instance; viewer: ViewerState }) {
  const file = useResource((signal) => viewer.source.rendered(instance, 'application/pdf', signal), [instance])
  const [address, setAddress] = useState<string>()
  useEffect(() => {
    if (file.data === undefined) return
    const made = URL.createObjectURL(file.data)
    setAddress(made)
    return () => URL.revokeObjectURL(made)
  }, [file.data])
  if (file.error !== undefined) return <ErrorState error={file.error} retry={file.reload} />
  if (address === undefined) return <Skeleton />
  const title = instance.attributes.text('DocumentTitle') || 'Document'
  // Phones, and browsers without a reader of their own, get the link.
  return (
    <div class="document-frame">
      {navigator.pdfViewerEnabled && <iframe src={address} title={title} data-testid="pdf" />}
      <p class="row-wrap"><ButtonLink href={address} download="document.pdf" icon={<Download />}>Save the PDF</ButtonLink><span class="soft">{title}</span></p>
    </div>
  )
}
