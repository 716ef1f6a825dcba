// The page's side of the worker that holds a metadata document.

import { request } from '../../api/request'
import type { Found, InstanceDocument, Outline } from './metadata'
import type { Question } from './metadata.worker'

type Ask = Question extends infer Q ? (Q extends { id: number } ? Omit<Q, 'id'> : never) : never

export class MetadataReader {
  private readonly worker = new Worker(new URL('./metadata.worker.ts', import.meta.url), { type: 'module' })
  private readonly waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  private next = 0

  private constructor(readonly versionId: string) {
    this.worker.onmessage = (event: MessageEvent<{ id: number; value?: unknown; error?: string }>) => {
      const { id, value, error } = event.data
      const asked = this.waiting.get(id)
      this.waiting.delete(id)
      if (error === undefined) asked?.resolve(value as never)
      else asked?.reject(new Error(`The metadata could not be read: ${error}`))
    }
    this.worker.onerror = () => {
      for (const each of this.waiting.values()) each.reject(new Error('The metadata could not be read: the browser stopped it.'))
      this.waiting.clear()
    }
  }

  /** Fetches the document of a version, and opens it. `close` what it returns. */
  static async open(datastoreId: string, imageSetId: string, versionId: string, signal: AbortSignal): Promise<{ reader: MetadataReader; outline: Outline }> {
    const path = `/datastore/${datastoreId}/imageSet/${imageSetId}/getImageSetMetadata?version=${encodeURIComponent(versionId)}`
    const response = await request(path, { method: 'POST', signal })
    const data = await response.arrayBuffer()
    const reader = new MetadataReader(versionId)
    signal.addEventListener('abort', () => reader.close())
    return { reader, outline: await reader.ask<Outline>({ kind: 'open', data }, [data]) }
  }

  instance(uid: string): Promise<InstanceDocument | undefined> {
    return this.ask({ kind: 'instance', uid })
  }

  search(text: string): Promise<Found> {
    return this.ask({ kind: 'search', text })
  }

  close(): void {
    this.worker.terminate()
  }

  private ask<T>(question: Ask, transfer: Transferable[] = []): Promise<T> {
    const id = this.next++
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject })
      this.worker.postMessage({ id, ...question }, transfer)
    })
  }
}
