// What the server makes of DICOM for the viewer is made of the latest version; here is told whether it may be shown for another.

export class OfOtherVersion extends Error {
  constructor(what: 'frame' | 'picture' | 'document' | 'part', version: string | undefined) {
    super(
      version === undefined
        ? `The image set was changed since it was opened, and this ${what} is another now. Load the page again.`
        : `The server makes this ${what} of the latest version alone, and version ${version} may have had another. Open the latest version to see what that has.`
    )
  }
}

/**
 * Whether an answer of DICOMweb's frames, by its entity tag, is of the frame with this id. The tag begins with the key of
 * the pixels in hexadecimal and ends with the frame's number from 1; the id is that key in 16 digits and the number from
 * 0 in 8. Pixels never change under their key. Undefined where there is no such tag.
 */
export function isOfFrame(etag: string | null, frameId: string | undefined): boolean | undefined {
  const tag = etag?.match(/^(?:W\/)?"([0-9a-f]{1,16})-[0-9]+-([0-9]+)"$/)
  if (!tag || frameId === undefined) return undefined
  const id = `${tag[1]!.padStart(16, '0')}${(Number(tag[2]) - 1).toString(16).padStart(8, '0')}00000000`
  return id === frameId
}
