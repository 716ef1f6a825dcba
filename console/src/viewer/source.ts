// Where the viewer gets documents and frames from. The console's API clients stand behind it; tests have their own.

import type { ImageSetDocument, Instance, Origin } from './model/document'
import type { Packed } from './pixels/packed'

export interface ImageSetSummary {
  readonly imageSetId: string
  readonly isPrimary: boolean
  readonly seriesUid: string
}

/** Of a study, that are listed. */
export const MOST_SETS = 500

export interface FramesWanted {
  /** In this order; absent: all frames of the image set, the middle one first and then outwards. */
  readonly ids?: readonly string[]
  /** Absent: whole frames. Frames that cannot be cut are then left out. */
  readonly level?: number
}

/** Where a version is named and the server cannot give a part of that version, the call throws `OfOtherVersion`. */
export interface ImageSource {
  document(origin: Origin, signal: AbortSignal): Promise<ImageSetDocument>
  /** The image sets of a study, about `MOST_SETS` at most. */
  imageSetsOfStudy(datastoreId: string, studyUid: string, signal: AbortSignal): Promise<ImageSetSummary[]>
  /** Frames of one image set in the order wanted, as they arrive. */
  frames(origin: Origin, wanted: FramesWanted, signal: AbortSignal): AsyncIterable<Packed>
  /** A small picture of an instance that the server made, as JPEG. */
  thumbnail(instance: Instance, signal: AbortSignal): Promise<Blob>
  /** One frame (from 0) decoded by the server, in native form. */
  decodedFrame(instance: Instance, frame: number, signal: AbortSignal): Promise<Uint8Array>
  /** An instance in another form that the server makes of it, such as `application/pdf`. */
  rendered(instance: Instance, type: string, signal: AbortSignal): Promise<Blob>
  /** All attributes of an instance in the DICOM JSON Model, long values by address. */
  dicomJson(instance: Instance, signal: AbortSignal): Promise<Record<string, { BulkDataURI?: string; InlineBinary?: string; Value?: unknown[] }>>
  /** A long value of an instance, in little endian; `uri` is a BulkDataURI of `dicomJson`. */
  bulk(instance: Instance, uri: string, signal: AbortSignal): Promise<Uint8Array>
}
