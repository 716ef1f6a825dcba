// AWS STS, as its SDKs call it: the Query protocol, answers in XML.

import { ApiError } from './errors'
import { request, unsigned } from './request'
import type { Credentials } from '../session/session'
import type { SigningKey } from '../session/signing'

const FORM = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }

function form(action: string, values: Record<string, string>): string {
  return new URLSearchParams({ Action: action, Version: '2011-06-15', ...values }).toString()
}

async function document(response: Response): Promise<Document> {
  return new DOMParser().parseFromString(await response.text(), 'text/xml')
}

function text(xml: Document, name: string): string {
  const found = xml.getElementsByTagName(name)[0]?.textContent
  if (found == null) throw new ApiError(200, 'UnexpectedAnswer', `The server's answer has no ${name}.`)
  return found
}

function credentials(xml: Document): Credentials {
  return {
    accessKeyId: text(xml, 'AccessKeyId'),
    secretAccessKey: text(xml, 'SecretAccessKey'),
    sessionToken: text(xml, 'SessionToken'),
    expiration: text(xml, 'Expiration')
  }
}

export async function getCallerIdentity(key: SigningKey): Promise<string> {
  const body = form('GetCallerIdentity', {})
  return text(await document(await request('/', { body, headers: FORM, service: 'sts', key })), 'Arn')
}

export async function getSessionToken(key: SigningKey, seconds: number): Promise<Credentials> {
  const body = form('GetSessionToken', { DurationSeconds: String(seconds) })
  return credentials(await document(await request('/', { body, headers: FORM, service: 'sts', key })))
}

export async function assumeRoleWithWebIdentity(roleArn: string, sessionName: string, token: string, seconds: number): Promise<{ credentials: Credentials; arn: string }> {
  const body = form('AssumeRoleWithWebIdentity', {
    RoleArn: roleArn,
    RoleSessionName: sessionName,
    WebIdentityToken: token,
    DurationSeconds: String(seconds)
  })
  const xml = await document(await unsigned('/', { method: 'POST', body, headers: FORM }))
  return { credentials: credentials(xml), arn: text(xml, 'Arn') }
}
