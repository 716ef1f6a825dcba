// Holds one metadata document away from the page, so that nothing freezes however long it is: unpacks, parses and searches it.

import { loadDictionary } from '../../dicom/dictionary'
import { parse } from '../../dicom/values'
import { type MetadataDocument, instanceOf, outlineOf, search } from './metadata'

export type Question = { id: number } & (
  | { kind: 'open'; data: ArrayBuffer }
  | { kind: 'instance'; uid: string }
  | { kind: 'search'; text: string }
)

let document: MetadataDocument | undefined

async function answer(question: Question): Promise<unknown> {
  if (question.kind === 'open') {
    document = parse(await unpacked(question.data)) as MetadataDocument
    return outlineOf(document)
  }
  if (document === undefined) return undefined
  if (question.kind === 'instance') return instanceOf(document, question.uid)
  return search(document, await loadDictionary(), question.text)
}

/** The text of a document, which is gzipped unless the browser has unpacked it already, as Content-Encoding tells it to. */
async function unpacked(data: ArrayBuffer): Promise<string> {
  const head = new Uint8Array(data, 0, Math.min(2, data.byteLength))
  if (head[0] !== 0x1f || head[1] !== 0x8b) return new TextDecoder().decode(data)
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream('gzip'))).text()
}

self.onmessage = (event: MessageEvent<Question>) => {
  const { id } = event.data
  answer(event.data).then(
    (value) => self.postMessage({ id, value }),
    (error: unknown) => self.postMessage({ id, error: error instanceof Error ? error.message : String(error) })
  )
}
