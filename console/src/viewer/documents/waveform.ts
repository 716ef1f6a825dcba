// Waveforms (PS3.3 C.10.9): multiplexed samples to values with their units.

import { type Attributes, type Item, attributesOf } from '../model/attributes'

export interface Channel {
  readonly name: string
  /** NaN stands for padding. */
  readonly values: Float32Array
  /** Such as `mV`; microvolts and volts are turned into millivolts. */
  readonly unit: string
}

export interface WaveformGroup {
  readonly label: string
  /** Samples a second. */
  readonly frequency: number
  readonly channels: readonly Channel[]
  readonly filters: string
}

export class NotAWaveform extends Error {}

const MOST_SAMPLES = 20_000_000

/** A multiplex group; `data` is WaveformData in little endian, however the file had it. */
export function readGroup(item: Item, data: Uint8Array): WaveformGroup {
  const group = attributesOf(item)
  const count = group.number('NumberOfWaveformChannels') ?? 0
  const samples = group.number('NumberOfWaveformSamples') ?? 0
  const frequency = group.number('SamplingFrequency') ?? 0
  const definitions = group.items('ChannelDefinitionSequence')
  if (count < 1 || samples < 1 || !(frequency > 0)) throw new NotAWaveform('The waveform has no channels, samples or frequency.')
  if (count * samples > MOST_SAMPLES) throw new NotAWaveform('The waveform has more samples than can be shown.')
  const width = (group.number('WaveformBitsAllocated') ?? 16) / 8
  const read = reader(group.text('WaveformSampleInterpretation'), width, data)
  if (data.byteLength < count * samples * width) throw new NotAWaveform('The waveform has fewer samples than it says.')
  const padding = paddingOf(group, width)
  const channels = Array.from({ length: count }, (_, channel): Channel => {
    const definition = attributesOf(definitions[channel] ?? {})
    const named = definition.items('ChannelSourceSequence')[0]
    const units = definition.items('ChannelSensitivityUnitsSequence')[0]
    const code = units === undefined ? '' : attributesOf(units).text('CodeValue')
    const toMillivolts = { uV: 1e-3, mV: 1, V: 1e3 }[code]
    // Without a sensitivity the samples have no unit (C.10.9.1.4.2).
    const sensitivity = definition.number('ChannelSensitivity')
    const factor = (sensitivity ?? 1) * (definition.number('ChannelSensitivityCorrectionFactor') ?? 1) * (toMillivolts ?? 1)
    const baseline = (definition.number('ChannelBaseline') ?? 0) * (toMillivolts ?? 1)
    const values = new Float32Array(samples)
    for (let at = 0; at < samples; at++) {
      const sample = read((at * count + channel) * width)
      values[at] = sample === padding ? NaN : sample * factor + baseline
    }
    const name = definition.text('ChannelLabel') || (named && attributesOf(named).text('CodeMeaning')) || `Channel ${channel + 1}`
    return { name: name.replace(/ \(Einthoven\)$/, ''), values, unit: sensitivity === undefined ? '' : toMillivolts === undefined ? code : 'mV' }
  })
  return { label: group.text('MultiplexGroupLabel'), frequency, channels, filters: filtersOf(definitions[0]) }
}

function reader(interpretation: string, width: number, data: Uint8Array): (at: number) => number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const kind = `${interpretation} ${width}`
  switch (kind) {
    case 'SS 2':
      return (at) => view.getInt16(at, true)
    case 'US 2':
      return (at) => view.getUint16(at, true)
    case 'SB 1':
      return (at) => view.getInt8(at)
    case 'UB 1':
      return (at) => view.getUint8(at)
    case 'SL 4':
      return (at) => view.getInt32(at, true)
    case 'UL 4':
      return (at) => view.getUint32(at, true)
    default:
      throw new NotAWaveform(`Samples of kind ${kind.replace(' ', ' with ')} bytes cannot be shown.`)
  }
}

function paddingOf(group: Attributes, width: number): number | undefined {
  const bytes = group.bytes('WaveformPaddingValue')
  if (bytes === undefined) return group.number('WaveformPaddingValue')
  return bytes.length < width ? undefined : reader(group.text('WaveformSampleInterpretation'), width, bytes)(0)
}

function filtersOf(definition: Item | undefined): string {
  if (definition === undefined) return ''
  const found = attributesOf(definition)
  const [low, high, notch] = ['FilterLowFrequency', 'FilterHighFrequency', 'NotchFilterFrequency'].map((name) => found.number(name))
  return [low ? `high-pass ${low} Hz` : '', high ? `low-pass ${high} Hz` : '', notch ? `notch ${notch} Hz` : ''].filter(Boolean).join(', ')
}

interface JsonElement {
  readonly BulkDataURI?: string
  readonly InlineBinary?: string
  readonly Value?: readonly unknown[]
}

/** Where the data of each multiplex group are, in the DICOM JSON Model of an instance (PS3.18 F). */
export function waveformData(instance: Readonly<Record<string, JsonElement>>): ({ uri: string } | { inline: string } | undefined)[] {
  const groups = (instance['54000100']?.Value ?? []) as Readonly<Record<string, JsonElement>>[]
  return groups.map((group) => {
    const data = group['54001010']
    if (data?.BulkDataURI) return { uri: data.BulkDataURI }
    return data?.InlineBinary ? { inline: data.InlineBinary } : undefined
  })
}
