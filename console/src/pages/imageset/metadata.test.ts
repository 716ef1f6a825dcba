import { describe, expect, it } from 'vitest'
import groups from '../../dicom/dictionary.json'
import { Dictionary, tagDigits } from '../../dicom/dictionary'
import { nameGroups, parse, stringify, textOf, valueOf } from '../../dicom/values'
import { type MetadataDocument, idOf, idsAbove, outlineOf, rowsOf, search, shownPath } from './metadata'

const dictionary = new Dictionary(groups as Record<string, string>)

const document: MetadataDocument = {
  Patient: { DICOM: { PatientName: 'Yamada^Tarou=山田^太郎', PatientID: 'P1' } },
  Study: {
    DICOM: { StudyDescription: '<img src=x onerror=alert(1)>', ProcedureCodeSequence: [{ CodeValue: 'C1' }, { CodeValue: 'C2' }] },
    Series: {
      '1.2.3': {
        DICOM: { Modality: 'MR' },
        Instances: {
          '1.2.3.1': { DICOM: { InstanceNumber: '1 ', '00191010': 'secret', Rows: 64 }, DICOMVRs: { '00191010': 'LO' }, ImageFrames: [{ ID: 'f', MinPixelValue: 0, MaxPixelValue: 9, FrameSizeInBytes: 12 }] },
          '1.2.3.2': { DICOM: { InstanceNumber: '2', Rows: 64 } }
        }
      }
    }
  }
}
const outline = outlineOf(document)

describe('a metadata document', () => {
  it('has an outline of its instances', () => {
    expect(outline.seriesUid).toBe('1.2.3')
    expect(outline.instances).toEqual([
      { uid: '1.2.3.1', number: '1', elements: 3, frames: 1 },
      { uid: '1.2.3.2', number: '2', elements: 2, frames: 0 }
    ])
  })

  it('is a tree in the order of tags whose instances are read when they are opened', () => {
    const rows = rowsOf({ outline, opened: new Map(), toggled: new Set() }, dictionary)
    expect(rows.map((row) => (row.kind === 'element' ? row.key : row.kind))).toEqual([
      'level', 'PatientName', 'PatientID', 'level', 'StudyDescription', 'ProcedureCodeSequence', 'level', 'Modality', 'level', 'instance', 'instance'
    ])
    const toggled = new Set(['i:1.2.3.1', 'f:1.2.3.1', 'Patient', 'Study:::ProcedureCodeSequence'.replace(':::', '::')])
    const opened = new Map([['1.2.3.1', document.Study.Series['1.2.3']!.Instances['1.2.3.1']!]])
    const shown = rowsOf({ outline, opened, toggled }, dictionary)
    expect(shown.filter((row) => row.kind === 'item')).toHaveLength(2)
    expect(shown.find((row) => row.kind === 'element' && row.key === '00191010')).toMatchObject({ tag: '00191010', vr: 'LO', value: 'secret', depth: 2 })
    expect(shown.at(-2)).toMatchObject({ kind: 'frame', index: 0 })
    expect(shown.some((row) => row.kind === 'element' && row.key === 'PatientID')).toBe(false)
  })

  it('is searched by keyword, tag and value, inside sequences too', () => {
    expect(search(document, dictionary, 'codeva').hits.map((hit) => shownPath(hit.path))).toEqual(['ProcedureCodeSequence › item 1 › CodeValue', 'ProcedureCodeSequence › item 2 › CodeValue'])
    expect(search(document, dictionary, '(0010,0020)').hits.map((hit) => hit.value)).toEqual(['P1'])
    expect(search(document, dictionary, '太郎').count).toBe(1)
    expect(search(document, dictionary, 'SECRET').hits[0]).toMatchObject({ instance: '1.2.3.1', number: '1', vr: 'LO' })
    expect(search(document, dictionary, 'rows')).toMatchObject({ count: 2, instances: 2, hits: [{ instances: 2, numbers: [1, 2], value: '64' }] })
    expect(search(document, dictionary, ' ').count).toBe(0)
  })

  it('tells what to open so that a hit is seen', () => {
    const place = { level: 'Study' as const, instance: null, path: ['ProcedureCodeSequence', 1, 'CodeValue'] }
    const toggled = new Set(idsAbove(place, () => 2))
    expect(rowsOf({ outline, opened: new Map(), toggled }, dictionary).some((row) => row.id === idOf(place))).toBe(true)
  })
})

describe('the dictionary', () => {
  it('knows keywords, tags, levels and multiplicity', () => {
    expect(dictionary.of('PatientName')).toEqual({ tag: '00100010', keyword: 'PatientName', vr: 'PN', isMultiple: false, level: 'Patient' })
    expect(dictionary.of('ImageType')).toMatchObject({ isMultiple: true, level: 'Instance' })
    expect(dictionary.of('00091001', { '00091001': 'SH' })).toMatchObject({ tag: '00091001', keyword: '', vr: 'SH' })
    expect(dictionary.suggestions('0010,0020', 3).map((each) => each.keyword)).toEqual(['PatientID'])
    expect(dictionary.suggestions('study desc'.replace(' ', ''), 3)[0]?.keyword).toBe('StudyDescription')
    expect(tagDigits('head')).toBe(null)
  })
})

describe('values', () => {
  it('keep every digit of long whole numbers', () => {
    const text = '{"A":9007199254740993,"B":[1,2],"C":0.1,"D":null}'
    expect(stringify(parse(text))).toBe(text)
    expect(textOf(parse('[18446744073709551615]'))).toBe('18446744073709551615')
  })

  it('are read by their VR', () => {
    expect(valueOf('1\\2', 'DS', true)).toEqual(['1', '2'])
    expect(valueOf('12', 'US', false)).toBe(12)
    expect(valueOf('a\\b', 'LT', false)).toBe('a\\b')
    expect(valueOf('', 'LO', false)).toBe(null)
    expect(valueOf('[{"CodeValue":"1"}]', 'SQ', false)).toEqual([{ CodeValue: '1' }])
    expect(() => valueOf('1.5', 'US', false)).toThrow('whole number')
    expect(() => valueOf('"x"', 'SQ', false)).toThrow('list of items')
  })

  it('are names in their component groups', () => {
    expect(nameGroups('Yamada^Tarou=山田^太郎=やまだ^たろう').map((each) => each.text)).toEqual(['Yamada, Tarou', '山田 太郎', 'やまだ たろう'])
    expect(nameGroups('Adams^John Robert Quincy^^Rev.^B.A. M.Div.')[0]?.text).toBe('Adams, Rev. John Robert Quincy B.A. M.Div.')
  })
})
