/** What the server refused, and why. `code` is AWS's name of the error, e.g. `AccessDeniedException`. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null = null
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

/** The server did not answer at all. */
export class OfflineError extends Error {
  constructor() {
    super('The server does not answer. Check that it runs and that this machine reaches it.')
    this.name = 'OfflineError'
  }
}

/** Somebody has changed what is shown: nothing was done, and the person has to look at it again before it is. */
export class ChangedMeanwhile extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ChangedMeanwhile'
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError'
}

/** A sentence for a person. */
export function explain(error: unknown): string {
  if (error instanceof Error && error.message) return error.message
  return 'Something went wrong.'
}

export async function errorOf(response: Response): Promise<ApiError> {
  const requestId = response.headers.get('x-amzn-requestid')
  let code = response.headers.get('x-amzn-errortype')?.split(':')[0] ?? ''
  let message = ''
  const text = await response.text().catch(() => '')
  try {
    const body = JSON.parse(text) as { message?: string; Message?: string }
    message = body.message ?? body.Message ?? ''
  } catch {
    // STS answers in XML.
    const xml = text.startsWith('<') ? new DOMParser().parseFromString(text, 'text/xml') : null
    message = xml?.querySelector('Message')?.textContent ?? ''
    code ||= xml?.querySelector('Code')?.textContent ?? ''
  }
  return new ApiError(
    response.status,
    code || `HTTP ${response.status}`,
    message || `The server answered ${response.status} ${response.statusText}`.trim(),
    requestId
  )
}
