import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import { presign, sign, signingKey } from './signing'

const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'

/** The signature by the steps of AWS's page, with node's own HMAC, over the string that the library signs. */
function derived(secret: string, date: string, region: string): Buffer {
  let key: Buffer = Buffer.from(`AWS4${secret}`)
  for (const part of [date, region, 'medical-imaging', 'aws4_request']) key = createHmac('sha256', key).update(part).digest()
  return key
}

test('the secret cannot be read out of the key', async () => {
  const key = await signingKey('AKIDEXAMPLE', SECRET)
  expect(key.key.extractable).toBe(false)
  await expect(crypto.subtle.exportKey('raw', key.key)).rejects.toThrow()
})

test('a request is signed with the key of its day, Region and service', async () => {
  const key = await signingKey('AKIDEXAMPLE', SECRET, 'token')
  const signed = await sign(key, 'https://example.org/datastore?maxResults=5', { region: 'eu-west-1', method: 'GET' })
  const date = signed.headers.get('x-amz-date')!
  const names = 'host;x-amz-date;x-amz-security-token'
  const canonical = ['GET', '/datastore', 'maxResults=5', `host:example.org`, `x-amz-date:${date}`, 'x-amz-security-token:token', '', names,
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'].join('\n')
  const hash = Buffer.from(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(canonical))).toString('hex')
  const scope = `${date.slice(0, 8)}/eu-west-1/medical-imaging/aws4_request`
  const expected = createHmac('sha256', derived(SECRET, date.slice(0, 8), 'eu-west-1')).update(`AWS4-HMAC-SHA256\n${date}\n${scope}\n${hash}`).digest('hex')
  expect(signed.headers.get('authorization')).toBe(`AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/${scope}, SignedHeaders=${names}, Signature=${expected}`)
})

test('a body that is not text is signed as unsigned payload', async () => {
  const key = await signingKey('AKIDEXAMPLE', SECRET)
  const signed = await sign(key, 'https://example.org/x', { region: 'us-east-1', body: new Blob(['a']) })
  expect(signed.method).toBe('POST')
  expect(signed.headers.get('x-amz-content-sha256')).toBe('UNSIGNED-PAYLOAD')
})

test('a presigned link carries everything in its query', async () => {
  const key = await signingKey('AKIDEXAMPLE', SECRET, 'token')
  const url = new URL(await presign(key, 'https://example.org/datastore/x?accept=application/zip', { region: 'us-east-1', seconds: 60 }))
  expect(url.searchParams.get('X-Amz-Expires')).toBe('60')
  expect(url.searchParams.get('X-Amz-Security-Token')).toBe('token')
  expect(url.searchParams.get('X-Amz-Signature')).toMatch(/^[0-9a-f]{64}$/)
})
