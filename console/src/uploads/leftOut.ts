// Which files of a folder or medium are plainly no DICOM files, and so are left out, and said to be.

/** What systems leave in folders. */
const OF_SYSTEMS = /^(\.DS_Store|\.localized|\._.*|Thumbs\.db|ehthumbs\.db|desktop\.ini|autorun\.inf|\.Trashes|\.fseventsd|\.directory)$/i
const FOLDERS_OF_SYSTEMS = /(^|\/)(__MACOSX|\.Spotlight-V100|\.Trashes|\.fseventsd|\$RECYCLE\.BIN|System Volume Information)\//i
/** Viewers and their pages on patients' media. Such a file is looked into before it is left out. */
const OTHER_KINDS = /\.(exe|dll|msi|com|bat|cmd|jar|class|so|dylib|inf|ini|lnk|url|html?|css|js|txt|pdf|md|png|jpe?g|gif|bmp|ico|svg|ttf|woff2?|mp4|avi|mov|docx?|xlsx?|log|chm|hlp|cab)$/i

/** Why a path is left out by its name alone; null if it is not. */
export function reasonByName(path: string): string | null {
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (OF_SYSTEMS.test(name) || FOLDERS_OF_SYSTEMS.test(path)) return 'left by an operating system'
  if (/^DICOMDIR$/i.test(name)) return 'an index of files, which are sent themselves'
  return null
}

/** Whether the name is that of a file of another kind, if what is in it does not say DICOM. */
export function isOtherKind(path: string): boolean {
  return OTHER_KINDS.test(path)
}

/** Whether a file has the mark of DICOM after its preamble (PS3.10 §7.1). */
export async function hasMark(content: Blob): Promise<boolean> {
  const head = new Uint8Array(await content.slice(128, 132).arrayBuffer())
  return String.fromCharCode(...head) === 'DICM'
}
