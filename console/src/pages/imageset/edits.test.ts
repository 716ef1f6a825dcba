import { describe, expect, it } from 'vitest'
import groups from '../../dicom/dictionary.json'
import { Dictionary } from '../../dicom/dictionary'
import { type Edit, base64, blobsOf, isStudyWide, rebased, whyFixed, withEdit, withLineEnds } from './edits'

const set = (level: Edit['level'], key: string, value: unknown, old: unknown = 'x', instance: string | null = null): Edit => ({ action: 'set', level, instance, key, vr: 'LO', old, value })

describe('edits', () => {
  it('become the two blobs of a request', () => {
    const blobs = blobsOf(
      [
        set('Patient', 'PatientName', 'A^B'),
        set('Study', 'StudyDescription', null),
        set('Series', 'SeriesDescription', 's'),
        set('Instance', '00191010', 12345678901234567890n, undefined, '1.2.3.1'),
        { action: 'remove', level: 'Study', instance: null, key: 'StudyDate', vr: 'DA', old: '20260101' },
        { action: 'remove-instance', level: 'Instance', instance: '1.2.3.2', number: '2' }
      ],
      '1.2.3'
    )
    expect(blobs.updatableAttributes).toBe(
      '{"SchemaVersion":1.1,"Patient":{"DICOM":{"PatientName":"A^B"}},"Study":{"DICOM":{"StudyDescription":null},"Series":{"1.2.3":{"DICOM":{"SeriesDescription":"s"},' +
        '"Instances":{"1.2.3.1":{"DICOM":{"00191010":12345678901234567890},"DICOMVRs":{"00191010":"LO"}}}}}}}'
    )
    expect(JSON.parse(blobs.removableAttributes ?? '')).toEqual({ SchemaVersion: 1.1, Study: { DICOM: { StudyDate: '20260101' }, Series: { '1.2.3': { Instances: { '1.2.3.2': {} } } } } })
    expect(blobsOf([], '1').updatableAttributes).toBeUndefined()
  })

  it('of one attribute replace each other, and go when they change nothing', () => {
    const first = withEdit([], set('Study', 'StudyID', '1'))
    const second = withEdit(first, set('Study', 'StudyID', '2'))
    expect(second).toHaveLength(1)
    expect(withEdit(second, set('Study', 'StudyID', 'x'))).toEqual([])
    expect(withEdit([set('Instance', 'Rows', 1, 2, 'i')], { action: 'remove-instance', level: 'Instance', instance: 'i', number: '1' })).toHaveLength(1)
  })

  it('go on with another version, with the values that it has', () => {
    const edits: Edit[] = [
      set('Study', 'StudyID', 'new', 'old'),
      set('Study', 'StudyDate', '20260101', 'old'),
      { action: 'remove', level: 'Study', instance: null, key: 'AccessionNumber', vr: 'SH', old: 'A1' },
      { action: 'remove', level: 'Study', instance: null, key: 'StudyTime', vr: 'TM', old: '1' },
      { action: 'remove-instance', level: 'Instance', instance: 'gone', number: '1' }
    ]
    const now: Record<string, unknown> = { StudyID: 'theirs', StudyDate: '20260101', AccessionNumber: 'A2' }
    expect(rebased(edits, (edit) => now[edit.key], (uid) => uid !== 'gone')).toEqual([{ ...edits[0], old: 'theirs' }, { ...edits[2], old: 'A2' }])
  })

  it('of the study of a primary image set are for the whole study', () => {
    expect(isStudyWide([set('Study', 'StudyID', '1')], true)).toBe(true)
    expect(isStudyWide([set('Study', 'StudyID', '1')], false)).toBe(false)
    expect(isStudyWide([set('Study', 'StudyID', '1'), set('Instance', 'Rows', 1)], true)).toBe(false)
  })

  it('are not offered where nothing allows them', () => {
    const dictionary = new Dictionary(groups as Record<string, string>)
    expect(whyFixed('PatientName', 'Patient', true, dictionary, 'PN')).toContain('Copy the image set')
    expect(whyFixed('PatientName', 'Patient', false, dictionary, 'PN')).toBe(null)
    expect(whyFixed('SOPClassUID', 'Instance', false, dictionary, 'UI')).toContain('file itself')
  })

  it('keep the line ends of a value, and are written with those of DICOM', () => {
    expect(withLineEnds('a\nc', 'a\r\nb')).toBe('a\r\nc')
    expect(withLineEnds('a\nc', 'a\nb')).toBe('a\nc')
    expect(withLineEnds('a\nb', undefined)).toBe('a\r\nb')
    expect(withLineEnds('a\nb\nc', 'a\r\nb\nc')).toBe('a\r\nb\nc')
    expect(withLineEnds('a', 'b')).toBe('a')
  })

  it('are sent as UTF-8 in base64', () => {
    expect(base64('Ä太')).toBe('w4TlpKo=')
  })
})
