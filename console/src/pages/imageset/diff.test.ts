import { describe, expect, it } from 'vitest'
import { callerName } from './callers'
import { chosen, copiable } from './copying'
import { type InstanceDiff, grouped, pathParts, pieces, ranges } from './diff'
import { summary } from './VersionsTab'

const changed = (n: number, now: string): InstanceDiff => ({ change: 'changed', SOPInstanceUID: `1.${n}`, InstanceNumber: n, versionId: '2', elements: [{ element: 'WindowCenter', vr: 'DS', old: ['40'], new: [now] }] })

describe('a difference', () => {
  it('groups the instances that were changed alike', () => {
    const added: InstanceDiff = { change: 'added', SOPInstanceUID: '1.9', InstanceNumber: 9, versionId: '3' }
    const groups = grouped([changed(1, '50'), changed(2, '50'), added, changed(3, '60'), { ...added, SOPInstanceUID: '1.10', InstanceNumber: 10 }])
    expect(groups.map((group) => [group.change, group.instances.length])).toEqual([['changed', 2], ['changed', 1], ['added', 2]])
  })

  it('writes instance numbers as ranges', () => {
    expect(ranges([3, 1, 2, 7, undefined, 9, 10])).toBe('1–3, 7, 9, 10')
    expect(ranges([1, 3, 5, 7], 2)).toBe('1, 3 and more')
  })

  it('marks what changed in a text', () => {
    expect(pieces('CHEST CT routine', 'CHEST MR routine')).toEqual({
      old: [{ text: 'CHEST ', isChanged: false }, { text: 'CT', isChanged: true }, { text: ' routine', isChanged: false }],
      now: [{ text: 'CHEST ', isChanged: false }, { text: 'MR', isChanged: true }, { text: ' routine', isChanged: false }]
    })
    expect(pieces('HEAD', 'NECK')).toEqual({ old: [{ text: 'HEAD', isChanged: true }], now: [{ text: 'NECK', isChanged: true }] })
    expect(pieces('40\\40', '40\\60').now).toEqual([{ text: '40\\', isChanged: false }, { text: '60', isChanged: true }])
    expect(pieces('Doe^Jane', 'Doe').now).toEqual([{ text: 'Doe', isChanged: false }])
  })

  it('splits a path into sequence and attribute', () => {
    expect(pathParts('ProcedureCodeSequence[0].CodeValue')).toEqual({ above: 'ProcedureCodeSequence › item 1', key: 'CodeValue' })
    expect(pathParts('StudyDate')).toEqual({ above: '', key: 'StudyDate' })
  })
})

describe('a version', () => {
  it('says in a few words what it changed', () => {
    const version = { versionId: '4', kind: 'updated' as const, workflowStatus: 'UPDATED', caller: '', createdAt: '', instanceCount: 3 }
    expect(summary({ ...version, levelsChanged: ['Study'], added: 1, touched: 3 })).toBe('study edited, 1 instance added, 2 instances changed')
    expect(summary({ ...version, versionId: '1' })).toBe('3 instances')
  })

  it('names who made it', () => {
    expect(callerName('arn:aws:iam::000000000000:root')).toBe('root')
    expect(callerName('arn:aws:iam::000000000000:user/ana')).toBe('ana')
    expect(callerName('arn:aws:sts::000000000000:assumed-role/Reader/ana')).toBe('ana (role Reader)')
  })
})

describe('instances to copy', () => {
  const instances = [1, 2, 3, 12].map((n) => ({ uid: `1.2.${n}`, number: String(n), elements: 0, frames: 1 }))
  it('are chosen by numbers, ranges and UIDs', () => {
    expect(chosen('1 - 2, 1.2.12', instances)).toEqual({ uids: ['1.2.1', '1.2.2', '1.2.12'], unknown: [] })
    expect(chosen('5, 3', instances)).toEqual({ uids: ['1.2.3'], unknown: ['5'] })
    expect(copiable('1.2', ['1.2.3'])).toBe('{"SchemaVersion":"1.1","Study":{"Series":{"1.2":{"Instances":{"1.2.3":{}}}}}}')
  })
})
