import { signal } from '@preact/signals'

export interface Asked {
  /** `key:ID`, `role:NAME`, or `draft` for a policy that nobody has yet. */
  who: string
  action: string
  resource: string
  draft: string
  context: { key: string; value: string }[]
}

/** What is asked on the explainer's page; other pages fill it in before they lead there. */
export const question = signal<Asked>({ who: '', action: 'medical-imaging:GetImageSetMetadata', resource: '', draft: '', context: [] })

/** Whose request it is, as the server wants to hear it. */
export function subjectOf({ who, draft }: Asked): { policies?: string[]; roleName?: string; accessKeyId?: string } {
  const [kind, ...rest] = who.split(':')
  const id = rest.join(':')
  return kind === 'draft' ? { policies: [draft] } : kind === 'role' ? { roleName: id } : { accessKeyId: id }
}

export function isComplete(asked: Asked): boolean {
  return asked.who !== '' && asked.action.trim() !== '' && asked.resource.trim() !== ''
}
