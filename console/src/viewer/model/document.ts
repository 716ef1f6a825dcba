// The document of GetImageSetMetadata as instances whose attributes are those of all levels together.

import { Attributes, type Item } from './attributes'

export interface FrameRecord {
  readonly ID: string
  readonly PixelDataChecksumFromBaseToFullResolution?: readonly {
    readonly Width: number
    readonly Height: number
    readonly Checksum: number
  }[]
  readonly MinPixelValue?: number | null
  readonly MaxPixelValue?: number | null
  readonly FrameSizeInBytes?: number
}

export interface InstanceRecord {
  readonly DICOM: Item
  readonly DICOMVRs?: Readonly<Record<string, string>>
  readonly StoredTransferSyntaxUID?: string
  readonly ChecksumType?: string
  readonly ImageFrames?: readonly FrameRecord[]
}

export interface ImageSetDocument {
  readonly DatastoreID: string
  readonly ImageSetID: string
  readonly Patient?: { readonly DICOM?: Item }
  readonly Study?: {
    readonly DICOM?: Item
    readonly Series?: Readonly<
      Record<string, { readonly DICOM?: Item; readonly Instances?: Readonly<Record<string, InstanceRecord>> }>
    >
  }
}

/** Where an instance came from: one version of an image set. `version` undefined is the latest. */
export interface Origin {
  readonly datastoreId: string
  readonly imageSetId: string
  readonly version?: string
}

export interface Instance {
  readonly origin: Origin
  readonly studyUid: string
  readonly seriesUid: string
  readonly uid: string
  readonly sopClass: string
  readonly attributes: Attributes
  readonly frames: readonly FrameRecord[]
  readonly storedSyntax: string
  /** Whether the checksums of `frames` are of decoded samples. */
  readonly hasSampleChecksums: boolean
  /** VRs of private elements, as the document has them. */
  readonly privateVrs: Readonly<Record<string, string>>
}

export interface Series {
  readonly uid: string
  readonly origin: Origin
  readonly attributes: Attributes
  readonly instances: readonly Instance[]
}

const HTJ2K = '1.2.840.10008.1.2.4.202'

/** The series of an image set. A value of an instance wins over that of its series, study and patient. */
export function seriesOf(document: ImageSetDocument, origin: Origin): Series[] {
  const patient = document.Patient?.DICOM ?? {}
  const study = document.Study?.DICOM ?? {}
  const studyUid = text(study['StudyInstanceUID'])
  return Object.entries(document.Study?.Series ?? {}).map(([seriesUid, series]) => {
    const above = [series.DICOM ?? {}, study, patient]
    const instances = Object.entries(series.Instances ?? {}).map(([uid, one]): Instance => {
      const attributes = new Attributes([one.DICOM, ...above])
      return {
        origin,
        studyUid,
        seriesUid,
        uid,
        sopClass: attributes.text('SOPClassUID'),
        attributes,
        frames: one.ImageFrames ?? [],
        storedSyntax: one.StoredTransferSyntaxUID ?? HTJ2K,
        hasSampleChecksums: (one.ChecksumType ?? 'DECOMPRESSED') === 'DECOMPRESSED',
        privateVrs: one.DICOMVRs ?? {}
      }
    })
    return { uid: seriesUid, origin, attributes: new Attributes(above), instances }
  })
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.trim() : ''
}
