import { expect, test } from 'vitest'
import type { DisplaySet } from '../model/displaySets'
import { MOST_LINES, placeOf, readReport } from './report'
import { NotAWaveform, readGroup, waveformData } from './waveform'

const code = (meaning: string) => [{ CodeValue: 'X', CodingSchemeDesignator: 'D', CodeMeaning: meaning }]

test('a report keeps names, values, units, references and depth', () => {
  const report = readReport({
    ValueType: 'CONTAINER',
    CompletionFlag: 'COMPLETE',
    VerificationFlag: 'UNVERIFIED',
    ConceptNameCodeSequence: code('Chest report'),
    ContentSequence: [
      {
        ValueType: 'CONTAINER',
        ConceptNameCodeSequence: code('Findings'),
        ContentSequence: [
          { ValueType: 'TEXT', ConceptNameCodeSequence: code('Finding'), TextValue: '<img src=x onerror=alert(1)>' },
          {
            ValueType: 'NUM',
            ConceptNameCodeSequence: code('Diameter'),
            MeasuredValueSequence: [{ NumericValue: '4.5 ', MeasurementUnitsCodeSequence: [{ CodeValue: 'mm' }] }]
          },
          { ValueType: 'NUM', ConceptNameCodeSequence: code('Volume'), NumericValueQualifierCodeSequence: code('Not measured') },
          { ValueType: 'IMAGE', ReferencedSOPSequence: [{ ReferencedSOPInstanceUID: '1.2.3', ReferencedFrameNumber: ['7'] }] }
        ]
      },
      { ValueType: 'DATETIME', ConceptNameCodeSequence: code('At'), DateTime: '20240131101502' },
      { ValueType: 'PNAME', ConceptNameCodeSequence: code('By'), PersonName: 'Doe^Jane' },
      { RelationshipType: 'INFERRED FROM', ReferencedContentItemIdentifier: [1, 2] }
    ]
  })
  expect([report.title, report.isComplete, report.isVerified, report.isCut]).toEqual(['Chest report', true, false, false])
  expect(report.lines[0]!.isHeading).toBe(true)
  expect(report.lines[0]!.lines.map((each) => [each.name, each.value])).toEqual([
    ['Finding', '<img src=x onerror=alert(1)>'],
    ['Diameter', '4.5 mm'],
    ['Volume', 'Not measured'],
    ['', 'image']
  ])
  expect(report.lines[0]!.lines[3]!.reference).toEqual({ uid: '1.2.3', frames: [7] })
  expect(report.lines.slice(1).map((each) => each.value)).toEqual(['2024-01-31 10:15', 'Doe, Jane', 'see item 1.2'])
})

test('units are codes of UCUM, and words where they are of another scheme', () => {
  const shown = (unit?: Record<string, unknown>) => {
    const measured = [{ NumericValue: '4', ...(unit && { MeasurementUnitsCodeSequence: [unit] }) }]
    return readReport({ PreliminaryFlag: 'PRELIMINARY', ContentSequence: [{ ValueType: 'NUM', MeasuredValueSequence: measured }] }).lines[0]!.value
  }
  expect(shown({ CodeValue: 'mm2', CodingSchemeDesignator: 'UCUM', CodeMeaning: 'square millimeter' })).toBe('4 mm2')
  expect(shown({ CodeValue: '1', CodingSchemeDesignator: 'UCUM', CodeMeaning: 'no units' })).toBe('4')
  expect(shown({ CodeValue: '{beats}', CodingSchemeDesignator: 'UCUM' })).toBe('4 beats')
  expect(shown({ CodeValue: '99XYZ', CodingSchemeDesignator: '99LOCAL', CodeMeaning: 'litres' })).toBe('4 litres')
  expect(shown({ CodeValue: '1', CodingSchemeDesignator: '99LOCAL', CodeMeaning: 'dozen' })).toBe('4 dozen')
  expect(shown()).toBe('4')
  expect([readReport({ PreliminaryFlag: 'PRELIMINARY' }).isPreliminary, readReport({ PreliminaryFlag: 'FINAL' }).isPreliminary, readReport({}).isPreliminary]).toEqual([true, false, false])
})

test('a report that is too long or too deep is cut, and says so', () => {
  const item = { ValueType: 'TEXT', TextValue: 'x' }
  expect(readReport({ ContentSequence: Array.from({ length: MOST_LINES + 1 }, () => item) }).isCut).toBe(true)
  let deep: Record<string, unknown> = item
  for (let i = 0; i < 100; i++) deep = { ValueType: 'CONTAINER', ContentSequence: [deep] }
  expect(readReport({ ContentSequence: [deep] }).isCut).toBe(true)
})

const group = {
  NumberOfWaveformChannels: 2,
  NumberOfWaveformSamples: 2,
  SamplingFrequency: '500',
  WaveformBitsAllocated: 16,
  WaveformSampleInterpretation: 'SS',
  ChannelDefinitionSequence: [
    { ChannelSourceSequence: code('Lead I (Einthoven)'), ChannelSensitivity: '2.5', ChannelSensitivityUnitsSequence: [{ CodeValue: 'uV' }], ChannelBaseline: '100' },
    { ChannelLabel: 'II' }
  ]
}

test('multiplexed samples become millivolts, channel by channel', () => {
  const data = new Uint8Array(new Int16Array([400, 1, -400, 2]).buffer)
  const read = readGroup(group, data)
  expect(read.channels.map((each) => [each.name, each.unit])).toEqual([['Lead I', 'mV'], ['II', '']])
  expect(Array.from(read.channels[0]!.values)).toEqual([Math.fround(1.1), Math.fround(-0.9)])
  expect(Array.from(read.channels[1]!.values)).toEqual([1, 2])
  expect(read.frequency).toBe(500)
})

test('padding is no value', () => {
  const data = new Uint8Array(new Int16Array([400, -1, -1, 2]).buffer)
  const read = readGroup({ ...group, WaveformPaddingValue: '//8=' }, data)
  expect(read.channels[0]!.values[1]).toBeNaN()
  expect(read.channels[1]!.values[0]).toBeNaN()
})

test('what is no waveform is refused', () => {
  expect(() => readGroup(group, new Uint8Array(6))).toThrow(NotAWaveform)
  expect(() => readGroup({ ...group, NumberOfWaveformSamples: 1e9 }, new Uint8Array(6))).toThrow(NotAWaveform)
  expect(() => readGroup({ ...group, WaveformSampleInterpretation: 'MB', WaveformBitsAllocated: 8 }, new Uint8Array(8))).toThrow(NotAWaveform)
})

test('the data of each group are found in DICOM JSON', () => {
  expect(waveformData({ '54000100': { Value: [{ '54001010': { BulkDataURI: 'http://x/1' } }, { '54001010': { InlineBinary: 'AAA=' } }, {}] } })).toEqual([
    { uri: 'http://x/1' },
    { inline: 'AAA=' },
    undefined
  ])
})

test('a reference leads to its image and frame, in the image set of the report first', () => {
  const setOf = (imageSetId: string, ...places: [uid: string, frame: number][]) => {
    const frames = places.map(([uid, frame]) => ({ instance: { uid }, frame }))
    return { series: { origin: { imageSetId } }, instances: frames.map((each) => each.instance), frames } as unknown as DisplaySet
  }
  const sets = [setOf('a', ['1', 0], ['2', 0]), setOf('b', ['2', 0]), setOf('c', ['3', 0], ['3', 1])]
  const found = (uid: string, frames: number[], own = 'z') => {
    const place = placeOf({ uid, frames }, sets, own)
    return place && [place.set.series.origin.imageSetId, place.index]
  }
  expect([found('2', []), found('2', [1], 'b'), found('3', [2, 1]), found('3', [9]), found('4', [])]).toEqual([['a', 1], ['b', 0], ['c', 1], ['c', undefined], undefined])
  expect(placeOf(undefined, sets, 'a')).toBeUndefined()
})
