// Signature Version 4 in the browser. aws4fetch makes the canonical request; the secret is a WebCrypto key that
// cannot be read out again, neither by a script on this page nor from the browser's storage.

import { AwsV4Signer } from 'aws4fetch'

export const SERVICE = 'medical-imaging'
const encoder = new TextEncoder()

export interface SigningKey {
  accessKeyId: string
  /** HMAC key of "AWS4" + secret: not extractable, for signing only. */
  key: CryptoKey
  sessionToken?: string
}

export async function signingKey(accessKeyId: string, secretAccessKey: string, sessionToken?: string): Promise<SigningKey> {
  return { accessKeyId, key: await hmacKey(encoder.encode(`AWS4${secretAccessKey}`)), sessionToken }
}

function hmacKey(bytes: BufferSource): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
}

function hmac(key: CryptoKey, text: string): Promise<ArrayBuffer> {
  return crypto.subtle.sign('HMAC', key, encoder.encode(text))
}

const scopes = new WeakMap<CryptoKey, Map<string, Promise<CryptoKey>>>()

/** The key of one day, Region and service (AWS Signature Version 4, step 3). */
function scopeKey(root: CryptoKey, date: string, region: string, service: string): Promise<CryptoKey> {
  let known = scopes.get(root)
  if (known === undefined) scopes.set(root, (known = new Map()))
  const name = `${date}/${region}/${service}`
  let found = known.get(name)
  if (found === undefined) {
    found = (async () => {
      let key = root
      for (const part of [date, region, service, 'aws4_request']) key = await hmacKey(await hmac(key, part))
      return key
    })()
    known.set(name, found)
  }
  return found
}

class Signer extends AwsV4Signer {
  constructor(
    private readonly root: CryptoKey,
    options: ConstructorParameters<typeof AwsV4Signer>[0]
  ) {
    super(options)
  }

  override async signature(): Promise<string> {
    const key = await scopeKey(this.root, this.datetime.slice(0, 8), this.region, this.service)
    const signed = new Uint8Array(await hmac(key, await this.stringToSign()))
    return Array.from(signed, (byte) => byte.toString(16).padStart(2, '0')).join('')
  }
}

export interface SignOptions {
  method?: string
  headers?: HeadersInit
  body?: BodyInit | null
  service?: string
  region: string
  /** Milliseconds that the server's clock is ahead of this machine's. */
  skew?: number
}

/** The URL and headers of a signed request. A body that is not text or bytes is signed as UNSIGNED-PAYLOAD. */
export async function sign(key: SigningKey, url: string, options: SignOptions): Promise<{ url: string; method: string; headers: Headers }> {
  const headers = new Headers(options.headers)
  const { body } = options
  const isPlain = body == null || typeof body === 'string' || body instanceof ArrayBuffer || ArrayBuffer.isView(body)
  if (!isPlain && !headers.has('x-amz-content-sha256')) headers.set('x-amz-content-sha256', 'UNSIGNED-PAYLOAD')
  const signer = new Signer(key.key, {
    ...common(key, url, options),
    method: options.method ?? (body == null ? 'GET' : 'POST'),
    headers,
    body: isPlain ? (body as string | ArrayBuffer | null | undefined) : undefined
  })
  const signed = await signer.sign()
  return { url: signed.url.toString(), method: signed.method, headers: new Headers(signed.headers) }
}

/** A URL that opens without further headers for `seconds`, for links that the browser itself follows. */
export async function presign(key: SigningKey, url: string, options: SignOptions & { seconds?: number }): Promise<string> {
  const target = new URL(url)
  target.searchParams.set('X-Amz-Expires', String(options.seconds ?? 300))
  const signer = new Signer(key.key, {
    ...common(key, target.toString(), options),
    method: options.method ?? 'GET',
    signQuery: true
  })
  return (await signer.sign()).url.toString()
}

function common(key: SigningKey, url: string, options: SignOptions) {
  return {
    url,
    accessKeyId: key.accessKeyId,
    // The library wants one; the signature is made with the key above.
    secretAccessKey: 'unused',
    sessionToken: key.sessionToken,
    service: options.service ?? SERVICE,
    region: options.region,
    datetime: new Date(Date.now() + (options.skew ?? 0)).toISOString().replace(/[:-]|\.\d{3}/g, '')
  }
}
