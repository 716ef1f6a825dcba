// The texts at the corners of an image and the letters at its edges. All from `shown`: what is on the canvas.

import { dicomDate, dicomTime, personName } from '../../ui/format'
import type { Attributes } from '../model/attributes'
import { invert, turnOf } from '../model/camera'
import { marksOf } from '../model/geometry'
import { windowNumbers } from '../model/windows'
import type { ViewerState } from '../page/viewerState'
import type { Shown, StackController } from './stackController'

export function Overlay({ stack, viewer }: { stack: StackController; viewer: ViewerState }) {
  const shown = stack.shown.value
  if (!shown) return null
  const { attributes } = shown
  const marks = marksOf(attributes, turnOf(stack.camera.value))
  return (
    <div class="overlay">
      <div class="corner top left">
        <strong>{personName(attributes.text('PatientName')) || 'No name'}</strong>
        <span>{[attributes.text('PatientID'), sexAndAge(attributes)].filter(Boolean).join(' · ')}</span>
        <span>{attributes.text('StudyDescription')}</span>
        <span>{[dicomDate(attributes.text('StudyDate')), dicomTime(attributes.text('StudyTime'))].filter(Boolean).join(' ')}</span>
      </div>
      <div class="corner top right">
        <span>{attributes.text('SeriesDescription')}</span>
        <span>{[attributes.text('Modality'), series(attributes)].filter(Boolean).join(' · ')}</span>
        <span class="faint-over">{attributes.text('InstitutionName')}</span>
        {shown.instance.origin.version && <span class="flag" data-testid="version">Version {shown.instance.origin.version}</span>}
        {lossy(attributes) && <span class="flag" data-testid="lossy">{lossy(attributes)}</span>}
        {shown.quality === 'preview' && <span class="flag" data-testid="preview">Low resolution, loading</span>}
      </div>
      <div class="corner bottom left">
        <ValueBelow stack={stack} viewer={viewer} />
        <span class="number" data-testid="position">{shown.index + 1} / {stack.length}</span>
        <span class="number">{place(attributes)}</span>
      </div>
      <div class="corner bottom right">
        <span class="number" data-testid="window">{windowText(shown, stack.inverse.value)}</span>
        <span class="number">Zoom {zoomText(stack)}</span>
      </div>
      {(['left', 'right', 'top', 'bottom'] as const).map((edge) => marks[edge] && <span key={edge} class={`mark ${edge}`} aria-hidden="true">{marks[edge]}</span>)}
    </div>
  )
}

/** Of the pixel below the mouse. Apart, since it is another one with each move. */
function ValueBelow({ stack, viewer }: { stack: StackController; viewer: ViewerState }) {
  const pointer = viewer.pointer.value
  if (pointer?.stack !== stack) return null
  const text = stack.valueAt(invert(stack.matrix.value, pointer.at))
  return text === '' ? null : <span class="number" data-testid="value">{text}</span>
}

function sexAndAge(attributes: Attributes): string {
  const age = /^0*(\d+)([DWMY])$/.exec(attributes.text('PatientAge'))
  return [attributes.text('PatientSex'), age ? `${age[1]} ${age[2]!.toLowerCase()}` : ''].filter(Boolean).join(' ')
}

function series(attributes: Attributes): string {
  const number = attributes.text('SeriesNumber')
  return number ? `series ${number}` : ''
}

function place(attributes: Attributes): string {
  const thickness = attributes.number('SliceThickness')
  const location = attributes.number('SliceLocation')
  const parts = [location === undefined ? '' : `${location.toFixed(1)} mm`, thickness === undefined ? '' : `thickness ${round(thickness)} mm`]
  return parts.filter(Boolean).join(' · ')
}

function round(value: number): string {
  return String(Math.round(value * 100) / 100)
}

/** PS3.3 C.7.6.1.1.5: of a lossy image the reader has to be told, whatever it is stored in now. */
export function lossy(attributes: Attributes): string {
  if (attributes.text('LossyImageCompression') !== '01') return ''
  const ratios = attributes.numbers('LossyImageCompressionRatio').filter((one) => one > 0)
  return ratios.length > 0 ? `Lossy ${ratios.map(round).join(' × ')} : 1` : 'Lossy'
}

export function windowText(shown: Shown, isInverse: boolean): string {
  const { voi, voiName } = shown
  const inverted = isInverse ? ' · inverted' : ''
  if (!voi) return isInverse ? 'Inverted' : ''
  if (voi.kind === 'table') return `${voiName}${inverted}`
  const sigmoid = voi.window.function === 'SIGMOID' ? ' sigmoid' : ''
  return `${windowNumbers(voi.window)}${sigmoid}${inverted}`
}

function zoomText(stack: StackController): string {
  const percent = stack.zoom.value * devicePixelRatio * 100
  return `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`
}
