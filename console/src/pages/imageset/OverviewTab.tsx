import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { FileText, Images } from 'lucide-preact'
import { isAbort } from '../../api/errors'
import { json, request } from '../../api/request'
import { Ago } from '../../ui/Ago'
import { Badge } from '../../ui/States'
import { Copyable } from '../../ui/Copyable'
import { Fact, Facts } from '../../ui/Facts'
import { count, dicomDate, dicomTime } from '../../ui/format'
import { nameGroups, textOf } from '../../dicom/values'
import { datastoreArn, useAllowed } from '../../session/allowed'
import type { Overview } from './api'
import { syntaxName } from './syntaxes'
import type { Go } from './ImageSet'

/** What an image set is, at a glance. */
export function OverviewTab({ store, data, go }: { store: string; data: Overview; go: Go }) {
  const of = (block: Record<string, unknown>, key: string) => textOf(block[key])
  const sex = { M: 'male', F: 'female', O: 'other' }[of(data.patient, 'PatientSex').trim()] ?? of(data.patient, 'PatientSex')
  return (
    <div class="set-overview">
      <Picture store={store} data={data} />
      <div class="set-facts">
        <Section title="Patient">
          <Fact name="Name"><PersonName value={of(data.patient, 'PatientName')} /></Fact>
          <Fact name="Patient ID">{of(data.patient, 'PatientID')}</Fact>
          <Fact name="Born">{dicomDate(of(data.patient, 'PatientBirthDate'))}</Fact>
          <Fact name="Sex">{sex}</Fact>
        </Section>
        <Section title="Study">
          <Fact name="Description">{of(data.study, 'StudyDescription')}</Fact>
          <Fact name="Date">{[dicomDate(of(data.study, 'StudyDate')), dicomTime(of(data.study, 'StudyTime'))].filter(Boolean).join(' ')}</Fact>
          <Fact name="Accession number">{of(data.study, 'AccessionNumber')}</Fact>
          <Fact name="Referring physician"><PersonName value={of(data.study, 'ReferringPhysicianName')} /></Fact>
          <Fact name="Study Instance UID"><Copyable text={of(data.study, 'StudyInstanceUID')} label="Copy the Study Instance UID" /></Fact>
        </Section>
        <Section title="Series">
          <Fact name="Description">{of(data.series, 'SeriesDescription')}</Fact>
          <Fact name="Modality">{of(data.series, 'Modality')}</Fact>
          <Fact name="Number">{of(data.series, 'SeriesNumber')}</Fact>
          <Fact name="Body part">{of(data.series, 'BodyPartExamined')}</Fact>
          <Fact name="Equipment">{[of(data.series, 'Manufacturer'), of(data.series, 'ManufacturerModelName')].filter(Boolean).join(' ')}</Fact>
          <Fact name="Series Instance UID"><Copyable text={of(data.series, 'SeriesInstanceUID')} label="Copy the Series Instance UID" /></Fact>
        </Section>
        <Section title="Image set">
          <Fact name="Holds">{[count(data.instanceCount, 'instance'), count(data.frameCount, 'frame')].join(', ')}</Fact>
          <Fact name="Stored as">{data.storedTransferSyntaxUids.map(syntaxName).join(', ') || 'no pixel data'}</Fact>
          <Fact name="Version"><button type="button" class="link-button" onClick={() => go({ tab: 'versions' })}>{data.versionId === data.latestVersionId ? data.versionId : `${data.versionId} of ${data.latestVersionId}`}</button></Fact>
          <Fact name="Created"><When at={data.createdAt} /></Fact>
          <Fact name="Changed"><When at={data.updatedAt} /></Fact>
          <Fact name="Image set ID"><Copyable text={data.imageSetId} label="Copy the image set ID" /></Fact>
        </Section>
        <Others store={store} data={data} />
      </div>
    </div>
  )
}

interface Summary {
  imageSetId: string
  isPrimary?: boolean
  DICOMTags?: { DICOMSeriesNumber?: number; DICOMSeriesModality?: string; DICOMNumberOfStudyRelatedInstances?: number; DICOMSeriesInstanceUID?: string }
}

const MOST_OTHERS = 50

/** The other image sets of the study, those of the same series first. */
function Others({ store, data }: { store: string; data: Overview }) {
  const study = textOf(data.study['StudyInstanceUID'])
  const [found, setFound] = useState<Summary[]>([])
  useEffect(() => {
    const controller = new AbortController()
    json<{ imageSetsMetadataSummaries: Summary[] }>(`/datastore/${store}/searchImageSets?maxResults=${MOST_OTHERS}`, {
      json: { filters: [{ operator: 'EQUAL', values: [{ DICOMStudyInstanceUID: study }] }] },
      signal: controller.signal
    })
      .then((page) => setFound(page.imageSetsMetadataSummaries.filter((each) => each.imageSetId !== data.imageSetId)))
      .catch(() => undefined)
    return () => controller.abort()
  }, [store, study, data.imageSetId])
  if (found.length === 0) return null
  const series = textOf(data.series['SeriesInstanceUID'])
  const isSame = (each: Summary) => each.DICOMTags?.DICOMSeriesInstanceUID === series
  const sorted = [...found].sort((one, other) => Number(isSame(other)) - Number(isSame(one)) || (one.DICOMTags?.DICOMSeriesNumber ?? 0) - (other.DICOMTags?.DICOMSeriesNumber ?? 0))
  return (
    <section>
      <h2>Also in this study</h2>
      <ul class="set-others">
        {sorted.map((each) => (
          <li key={each.imageSetId} class="row-wrap">
            <a href={`/console/stores/${store}/sets/${each.imageSetId}`}>{[each.DICOMTags?.DICOMSeriesNumber !== undefined && `Series ${each.DICOMTags.DICOMSeriesNumber}`, each.DICOMTags?.DICOMSeriesModality].filter(Boolean).join(' · ') || 'Series'}</a>
            {isSame(each) && <Badge>same series</Badge>}
            {each.isPrimary === false && <Badge>not primary</Badge>}
          </li>
        ))}
      </ul>
      {found.length >= MOST_OTHERS - 1 && <p class="faint small">There may be more: the list of studies shows them.</p>}
    </section>
  )
}

function Section({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section>
      <h2>{title}</h2>
      <Facts>{children}</Facts>
    </section>
  )
}

function When({ at }: { at: string }) {
  return <Ago at={at} />
}

/** A PN in each of its component groups; the value as it is stored is its tooltip. */
export function PersonName({ value }: { value: string }) {
  const groups = nameGroups(value)
  if (groups.length === 0) return <span class="faint">—</span>
  return (
    <span class="person" title={value}>
      {groups.map((group, index) => (
        <span key={group.label} class={index === 0 ? '' : 'soft'}>{group.text}</span>
      ))}
    </span>
  )
}

/** The address of the viewer, with the version where it is not the latest. */
export function viewerOf(store: string, data: Overview): string {
  return `/console/stores/${store}/view/${data.imageSetId}${data.versionId === data.latestVersionId ? '' : `?version=${data.versionId}`}`
}

function Picture({ store, data }: { store: string; data: Overview }) {
  const [url, setUrl] = useState<string | null | undefined>(undefined)
  const study = textOf(data.study['StudyInstanceUID'])
  const series = textOf(data.series['SeriesInstanceUID'])
  const mayRender = useAllowed('medical-imaging:GetDICOMInstanceFrames', datastoreArn(store))
  useEffect(() => {
    // Rendered pictures are of the latest version; an older one may have other pixels.
    if (data.sopInstanceUid === null || mayRender === false || data.versionId !== data.latestVersionId) {
      setUrl(null)
      return
    }
    if (mayRender === undefined) return
    const controller = new AbortController()
    let made: string | undefined
    const instance = `/datastore/${store}/studies/${study}/series/${series}/instances/${data.sopInstanceUid}`
    request(`${instance}/rendered?imageSetId=${data.imageSetId}&viewport=480,480`, { headers: { accept: 'image/jpeg' }, signal: controller.signal })
      .then((response) => response.blob())
      .then((blob) => {
        made = URL.createObjectURL(blob)
        setUrl(made)
      })
      .catch((error: unknown) => {
        if (!isAbort(error)) setUrl(null)
      })
    return () => {
      controller.abort()
      if (made !== undefined) URL.revokeObjectURL(made)
    }
  }, [store, data.imageSetId, data.versionId, data.sopInstanceUid, mayRender])
  if (data.frameCount === 0) {
    return (
      <a class="set-picture empty" href={viewerOf(store, data)}>
        <span class="stack-tight set-no-picture"><FileText aria-hidden="true" />Open in the viewer</span>
      </a>
    )
  }
  return (
    <a class={`set-picture ${url === null ? 'empty' : ''}`} href={viewerOf(store, data)} aria-label="Open the viewer">
      {url === undefined ? <span class="skeleton"><span class="bar" /></span> : url === null ? <span class="stack-tight set-no-picture"><Images aria-hidden="true" />Open the viewer</span> : <img src={url} alt="Middle image of the series" />}
    </a>
  )
}
