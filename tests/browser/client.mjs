// dcmjs's dicomweb-client through what a viewer does: store, search, metadata, frames, bulk data, pictures.
// ROOT is the data store's URL; FILES are Part 10 files of one series. Prints what it saw as JSON.

import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import xhr2 from 'xhr2'
import * as dicomweb from 'dicomweb-client'

globalThis.XMLHttpRequest = xhr2
const { api } = dicomweb.default ?? dicomweb
const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, ROOT, FILES } = process.env

const hash = (data) => createHash('sha256').update(data).digest('hex')
const mac = (key, text) => createHmac('sha256', key).update(text).digest()
const strict = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)

// Signature Version 4 over method, path, query and host; the body is not covered.
function sign (request, { url, method }) {
  const target = new URL(url)
  const stamp = new Date().toISOString().replace(/[-:]|\.\d{3}/g, '')
  const scope = `${stamp.slice(0, 8)}/us-east-1/medical-imaging/aws4_request`
  const query = [...target.searchParams].map(([k, v]) => `${strict(k)}=${strict(v)}`).sort().join('&')
  const names = 'host;x-amz-content-sha256;x-amz-date'
  const canonical = [
    method.toUpperCase(),
    target.pathname.split('/').map(strict).join('/'),
    query,
    `host:${target.host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:${stamp}\n`,
    names,
    'UNSIGNED-PAYLOAD'
  ].join('\n')
  const key = scope.split('/').reduce((k, part) => mac(k, part), `AWS4${secret}`)
  const text = `AWS4-HMAC-SHA256\n${stamp}\n${scope}\n${hash(canonical)}`
  request.setRequestHeader('X-Amz-Date', stamp)
  request.setRequestHeader('X-Amz-Content-SHA256', 'UNSIGNED-PAYLOAD')
  request.setRequestHeader(
    'Authorization',
    `AWS4-HMAC-SHA256 Credential=${id}/${scope}, SignedHeaders=${names}, ` +
      `Signature=${mac(key, text).toString('hex')}`
  )
  return request
}

const client = new api.DICOMwebClient({ url: ROOT, requestHooks: [sign] })
const bytes = (path) => {
  const file = readFileSync(path)
  return file.buffer.slice(file.byteOffset, file.byteOffset + file.length)
}
const value = (set, tag) => set[tag]?.Value?.[0]
const seen = {}

const stored = await client.storeInstances({ datasets: FILES.split(':').map(bytes) })
const answer = typeof stored === 'string' ? JSON.parse(stored) : stored
seen.stored = answer['00081199'].Value.length
const studies = await client.searchForStudies({ queryParams: { PatientID: 'JS*', limit: 10 } })
seen.studies = studies.length
const studyInstanceUID = value(studies[0], '0020000D')
const series = await client.searchForSeries({ studyInstanceUID })
seen.series = series.length
const seriesInstanceUID = value(series[0], '0020000E')
const instances = await client.searchForInstances({ studyInstanceUID, seriesInstanceUID })
seen.instances = instances.map((set) => value(set, '00080018'))
const sopInstanceUID = seen.instances[0]
const one = { studyInstanceUID, seriesInstanceUID, sopInstanceUID }

const ofSeries = await client.retrieveSeriesMetadata({ studyInstanceUID, seriesInstanceUID })
const ofStudy = await client.retrieveStudyMetadata({ studyInstanceUID })
const ofInstance = await client.retrieveInstanceMetadata(one)
seen.metadata = [ofSeries.length, ofStudy.length]
seen.name = value([ofInstance].flat()[0], '00100010').Alphabetic

const file = await client.retrieveInstance(one)
seen.part10 = Buffer.from(file).subarray(128, 132).toString()
const all = await client.retrieveSeries({ studyInstanceUID, seriesInstanceUID })
seen.files = all.length
const frames = await client.retrieveInstanceFrames({ ...one, frameNumbers: [1] })
seen.frame = hash(Buffer.from(frames[0]))
const bulk = Object.values(ofSeries[0]).find((element) => element.BulkDataURI)
const data = await client.retrieveBulkData({ BulkDataURI: bulk.BulkDataURI })
seen.bulk = hash(Buffer.from(data[0]))
const picture = await client.retrieveInstanceRendered({ ...one, mediaTypes: [{ mediaType: 'image/png' }] })
seen.picture = Buffer.from([picture].flat()[0]).subarray(1, 4).toString()
console.log(JSON.stringify(seen))
