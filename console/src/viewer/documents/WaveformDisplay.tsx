// Electrocardiograms and other waveforms, on paper as cardiologists know it: 25 mm/s and 10 mm/mV.

import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { Instance } from '../model/document'
import type { ViewerState } from '../page/viewerState'
import type { DisplayProps } from '../registry'
import { SelectField } from '../../ui/Fields'
import { ErrorState, Notice, Skeleton } from '../../ui/States'
import { count } from '../../ui/format'
import { useResource } from '../../ui/useResource'
import { fromBase64 } from '../model/attributes'
import { Pages } from './Pages'
import { type WaveformGroup, readGroup, waveformData } from './waveform'

// CSS pixels a millimetre: what a screen says is true to a few percent, and the grid is right in any case.
const MM = 96 / 25.4
const ROW_MM = 22
const NAME_MM = 2
// Browsers draw no canvas that is much wider.
const MOST_WIDTH = 30_000

export default function WaveformDisplay({ set, viewer }: DisplayProps) {
  const [speed, setSpeed] = useState('25')
  const [gain, setGain] = useState('10')
  return (
    <Pages
      instances={set.instances}
      tools={
        <div class="row">
          <SelectField label="Speed" hideLabel value={speed} onValue={setSpeed} options={['12.5', '25', '50'].map((value) => ({ value, label: `${value} mm/s` }))} />
          <SelectField label="Gain" hideLabel value={gain} onValue={setGain} options={['5', '10', '20'].map((value) => ({ value, label: `${value} mm/mV` }))} />
        </div>
      }
    >
      {(instance) => <Waveforms key={instance.uid} instance={instance} viewer={viewer} speed={Number(speed)} gain={Number(gain)} />}
    </Pages>
  )
}

function Waveforms({ instance, viewer, speed, gain }: { instance: Instance; viewer: ViewerState; speed: number; gain: number }) {
  const groups = useResource((signal) => load(instance, viewer, signal), [instance])
  if (groups.error !== undefined) return <ErrorState title="The waveform cannot be shown" error={groups.error} retry={groups.reload} />
  if (groups.data === undefined) return <Skeleton />
  const notes = instance.attributes
    .items('WaveformAnnotationSequence')
    .map((item) => item['UnformattedTextValue'])
    .filter((text): text is string => typeof text === 'string' && text.trim() !== '')
  return (
    <div class="waveforms" tabIndex={0}>
      {notes.length > 0 && <Notice>{notes.join(' · ')}</Notice>}
      {groups.data.missing > 0 && <Notice look="warn">{count(groups.data.missing, 'group')} of channels cannot be shown: the data {groups.data.missing === 1 ? 'is' : 'are'} not there.</Notice>}
      {groups.data.found.map((group, index) => (
        <figure key={index}>
          <figcaption class="soft small">
            {[group.label, `${group.frequency} samples a second`, group.filters].filter(Boolean).join(' · ')}
          </figcaption>
          <Paper group={group} speed={speed} gain={gain} />
        </figure>
      ))}
    </div>
  )
}

async function load(instance: Instance, viewer: ViewerState, signal: AbortSignal): Promise<{ found: WaveformGroup[]; missing: number }> {
  const places = waveformData(await viewer.source.dicomJson(instance, signal))
  const items = instance.attributes.items('WaveformSequence')
  const groups: WaveformGroup[] = []
  for (const [index, item] of items.entries()) {
    const place = places[index]
    const data = place === undefined ? undefined : 'uri' in place ? await viewer.source.bulk(instance, place.uri, signal) : fromBase64(place.inline)
    if (data !== undefined) groups.push(readGroup(item, data))
  }
  if (groups.length === 0) throw new Error('This object has no waveform data.')
  return { found: groups, missing: items.length - groups.length }
}

/** One row a channel; a row whose unit is not millivolts is fitted to its height, and says so. */
function Paper({ group, speed, gain }: { group: WaveformGroup; speed: number; gain: number }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const samples = group.channels[0]?.values.length ?? 0
  const whole = Math.ceil((samples / group.frequency) * speed * MM) + 8
  const width = Math.min(MOST_WIDTH, whole)
  const height = Math.ceil(group.channels.length * ROW_MM * MM)
  useLayoutEffect(() => {
    const element = canvas.current
    const context = element?.getContext('2d')
    if (!element || !context) return
    const scale = Math.min(devicePixelRatio, 16_000 / width)
    element.width = Math.ceil(width * scale)
    element.height = Math.ceil(height * scale)
    context.scale(scale, scale)
    const style = getComputedStyle(element)
    paintGrid(context, width, height, style)
    group.channels.forEach((channel, row) => {
      const middle = (row + 0.55) * ROW_MM * MM
      const isMillivolts = channel.unit === 'mV'
      const { factor, offset } = isMillivolts ? { factor: gain * MM, offset: 0 } : fitted(channel.values)
      context.strokeStyle = style.color
      context.lineWidth = 1.1
      context.beginPath()
      let isDrawing = false
      for (let at = 0; at < channel.values.length; at++) {
        const value = channel.values[at]!
        if (Number.isNaN(value)) {
          isDrawing = false
          continue
        }
        const x = (at / group.frequency) * speed * MM
        const y = middle - (value - offset) * factor
        if (isDrawing) context.lineTo(x, y)
        else context.moveTo(x, y)
        isDrawing = true
      }
      context.stroke()
      context.fillStyle = style.color
      context.font = `600 12px ${style.fontFamily}`
      const unit = isMillivolts ? '' : ` (${channel.unit || 'no unit'}, fitted)`
      context.fillText(channel.name + unit, NAME_MM * MM, row * ROW_MM * MM + 14)
    })
  }, [group, speed, gain, width, height])
  const paper = (
    <div class="paper" role="group" aria-label="Waveform" tabIndex={0}>
      <canvas ref={canvas} style={{ width: `${width}px`, height: `${height}px` }} role="img" aria-label={`${group.channels.length} channels: ${group.channels.map((each) => each.name).join(', ')}`} data-testid="waveform" />
    </div>
  )
  if (width === whole) return paper
  return (
    <>
      <Notice look="warn">Only the first {Math.floor(width / (speed * MM))} of {Math.round(samples / group.frequency)} seconds are drawn. A slower speed shows more; download it to see all of it.</Notice>
      {paper}
    </>
  )
}

function paintGrid(context: CanvasRenderingContext2D, width: number, height: number, style: CSSStyleDeclaration): void {
  for (const [step, alpha] of [[1, 0.14], [5, 0.38]] as const) {
    context.strokeStyle = style.caretColor
    context.globalAlpha = alpha
    context.lineWidth = 0.75
    context.beginPath()
    for (let x = 0; x <= width; x += step * MM) {
      context.moveTo(x, 0)
      context.lineTo(x, height)
    }
    for (let y = 0; y <= height; y += step * MM) {
      context.moveTo(0, y)
      context.lineTo(width, y)
    }
    context.stroke()
  }
  context.globalAlpha = 1
}

function fitted(values: Float32Array): { factor: number; offset: number } {
  let [low, high] = [Infinity, -Infinity]
  for (const value of values) {
    if (value < low) low = value
    if (value > high) high = value
  }
  const range = high - low
  return range > 0 ? { factor: (ROW_MM * 0.8 * MM) / range, offset: (low + high) / 2 } : { factor: 1, offset: Number.isFinite(low) ? low : 0 }
}
