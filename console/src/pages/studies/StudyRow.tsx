import { memo } from 'preact/compat'
import { ChevronRight, Copy, Download, Ellipsis, ExternalLink, Eye, Info, ShieldCheck, Trash2 } from 'lucide-preact'
import { config } from '../../api/config'
import type { Study, StudyImageSet } from '../../api/studies'
import { openOhif } from '../../session/ohif'
import { Ago } from '../../ui/Ago'
import { IconButton } from '../../ui/Button'
import { Menu, type MenuItem } from '../../ui/Menu'
import { Badge } from '../../ui/States'
import { count, dicomDate, dicomTime, personName } from '../../ui/format'
import { Thumbnail } from './Thumbnail'
import type { BulkAction } from './bulk'

export interface Rights {
  export: boolean
  copy: boolean
  delete: boolean
  view: boolean
  pictures: boolean
}

type Action = BulkAction | 'explicit' | 'stored'

interface Props {
  store: string
  study: Study
  index: number
  isActive: boolean
  isPicked: boolean
  isOpen: boolean
  rights: Rights
  onFocus: () => void
  onPick: (isPicked: boolean) => void
  onExpand: (isOpen: boolean) => void
  onAction: (action: Action, set?: StudyImageSet) => void
}

const viewPath = (store: string, set: string) => `/console/stores/${store}/view/${set}`

export const StudyRow = memo(Row, (before, after) => (['store', 'study', 'index', 'isActive', 'isPicked', 'isOpen'] as const).every((name) => before[name] === after[name]) && same(before.rights, after.rights))

function same(one: Rights, other: Rights): boolean {
  return one.export === other.export && one.copy === other.copy && one.delete === other.delete && one.view === other.view && one.pictures === other.pictures
}

function Row({ store, study, index, isActive, isPicked, isOpen, rights, onFocus, onPick, onExpand, onAction }: Props) {
  const shown = study.imageSets.find((set) => set.imageSetId === study.thumbnailImageSetId) ?? study.imageSets[0]
  const name = personName(study.patientName) || 'No name'
  const details = [study.patientId, dicomDate(study.patientBirthDate), study.patientSex].filter(Boolean).join(' · ')
  const onClick = (event: MouseEvent) => {
    const target = event.target as HTMLElement
    // A click beside the controls shows the series; one that ends a selection of text does not.
    if (target.closest('a, button, input, label, .menu') || getSelection()?.toString()) return
    onExpand(!isOpen)
  }
  return (
    <>
      <tr class={`link study ${isPicked ? 'picked' : ''} ${isOpen ? 'open' : ''}`} data-testid="study" data-row={index} tabIndex={isActive ? 0 : -1} onFocus={onFocus} onClick={onClick}>
        <td class="c-pick"><label class="checkbox"><input type="checkbox" checked={isPicked} onChange={(event) => onPick(event.currentTarget.checked)} /><span class="visually-hidden">Pick {name}, {dicomDate(study.studyDate)}</span></label></td>
        <td class="c-picture"><Picture store={store} study={study} set={shown} rights={rights} /></td>
        <td class="c-patient">
          {shown !== undefined && rights.view ? <a class="name" href={viewPath(store, shown.imageSetId)}>{name}</a> : <span class="name">{name}</span>}
          {details !== '' && <span class="under">{details}</span>}
          {study.imageSets.some((set) => set.otherPatient !== null) && <Badge look="warn" title="Some image sets of this study name another patient: show its series to see which">other patients, too</Badge>}
        </td>
        <td class="c-date number"><span>{dicomDate(study.studyDate) || <span class="faint">No date</span>}</span><span class="under">{dicomTime(study.studyTime)}</span></td>
        <td class="c-modality"><span class="modalities">{study.otherImageSetCount > 0 && <span class="only-phone"><Badge look="warn">{study.primaryImageSetCount === 0 ? 'not primary' : `${study.otherImageSetCount} not primary`}</Badge></span>}{study.modalities.slice(0, 4).map((each) => <Badge key={each}>{each}</Badge>)}{study.modalities.length > 4 && <span class="faint small">+{study.modalities.length - 4}</span>}</span></td>
        <td class="c-description"><span class="what">{study.studyDescription || <span class="faint">No description</span>}</span>
          {(study.accessionNumber || study.otherImageSetCount > 0) && (
            <span class="under badges">
              {study.accessionNumber}
              {study.otherImageSetCount > 0 && <Badge look="warn" title={study.primaryImageSetCount > 0 ? 'Image sets beside the primary ones: copies, or what contradicts the study' : 'No image set of this study is primary, so DICOMweb searches do not find it'}>{study.primaryImageSetCount === 0 ? 'not primary' : `${study.otherImageSetCount} not primary`}</Badge>}
            </span>
          )}
        </td>
        <td class="c-images right">
          <span>{count(study.instanceCount)}{study.hasMoreImageSets && '+'}</span>
          <span class="under">{count(study.seriesCount, 'series', 'series')}</span>
        </td>
        <td class="c-updated soft"><Ago at={study.updatedAt} /></td>
        <td class="c-more">
          <span class="row">
            <Actions label={`Actions for ${name}`} rights={rights} isOther={study.otherImageSetCount > 0} store={store} set={shown} ohif={config.value.ohif && study.primaryImageSetCount > 0 ? () => openOhif(store, study.studyInstanceUid) : undefined} onAction={(action) => onAction(action)} />
            <IconButton class="expand" label={isOpen ? `Hide the series of ${name}` : `Show the series of ${name}`} aria-expanded={isOpen} tabIndex={-1} onClick={() => onExpand(!isOpen)}><ChevronRight /></IconButton>
          </span>
        </td>
      </tr>
      {isOpen && (
        <tr class="series-row">
          <td colSpan={9}>
            <ul class="study-series" aria-label={`Image sets of ${name}`}>
              {study.imageSets.map((set) => (
                <li key={set.imageSetId} data-testid="image-set">
                  <Picture store={store} study={study} set={set} rights={rights} />
                  <div class="grow">
                    {rights.view ? <a class="name" href={viewPath(store, set.imageSetId)}>{seriesName(set)}</a> : <span class="name">{seriesName(set)}</span>}
                    <span class="under">{[set.modality, set.bodyPartExamined, count(set.instanceCount, 'instance'), set.versionId !== '1' && `version ${set.versionId}`].filter(Boolean).join(' · ')}</span>
                    {set.otherPatient !== null && <Badge look="bad" title="This image set names another patient than the study above">{[personName(set.otherPatient.patientName) || 'No name', set.otherPatient.patientId ?? 'no ID'].join(' · ')}</Badge>}
                  </div>
                  {!set.isPrimary && <Badge look="warn">not primary</Badge>}
                  <a class="button quiet icon-only" href={`/console/stores/${store}/sets/${set.imageSetId}`} aria-label={`Image set of ${seriesName(set)}`} title="Metadata and versions"><Info /></a>
                  <Actions label={`Actions for ${seriesName(set)}`} rights={rights} isOther={!set.isPrimary} onAction={(action) => onAction(action, set)} />
                </li>
              ))}
              {study.hasMoreImageSets && <li class="soft small">There are more image sets than are listed here. Export, copy and delete take all of them.</li>}
            </ul>
          </td>
        </tr>
      )}
    </>
  )
}

/** The picture leads to the viewer as the name beside it does, which is the one for keyboards and screen readers. */
function Picture({ store, study, set, rights }: { store: string; study: Study; set: StudyImageSet | undefined; rights: Rights }) {
  const picture = <Thumbnail store={store} study={study.studyInstanceUid} set={rights.pictures ? set : undefined} />
  return set !== undefined && rights.view ? <a href={viewPath(store, set.imageSetId)} tabIndex={-1} aria-hidden="true">{picture}</a> : picture
}

function seriesName(set: StudyImageSet): string {
  return set.seriesDescription ? [set.seriesNumber, set.seriesDescription].filter(Boolean).join(' · ') : `Series ${set.seriesNumber ?? ''}`.trim()
}

function Actions({ label, rights, isOther, store, set, ohif, onAction }: { label: string; rights: Rights; isOther: boolean; store?: string; set?: StudyImageSet; ohif?: () => void; onAction: (action: Action) => void }) {
  const items: (MenuItem | null)[] = []
  if (store !== undefined && set !== undefined && rights.view) {
    items.push({ label: 'View', icon: <Eye />, href: viewPath(store, set.imageSetId) }, { label: 'Metadata and versions', icon: <Info />, href: `/console/stores/${store}/sets/${set.imageSetId}` })
  }
  if (ohif !== undefined) items.push({ label: 'Open in OHIF', icon: <ExternalLink />, onSelect: ohif })
  if (rights.export) items.push({ label: 'Export, uncompressed', icon: <Download />, onSelect: () => onAction('explicit') }, { label: 'Export as stored', icon: <Download />, onSelect: () => onAction('stored') })
  if (rights.copy) items.push({ label: 'Copy', icon: <Copy />, onSelect: () => onAction('copy') })
  if (rights.copy && isOther) items.push({ label: 'Promote to primary', icon: <ShieldCheck />, onSelect: () => onAction('promote') })
  if (rights.delete) items.push(null, { label: 'Delete', icon: <Trash2 />, look: 'danger', onSelect: () => onAction('delete') })
  return items.length === 0 ? null : <Menu label={label} icon={<Ellipsis />} items={items} />
}
