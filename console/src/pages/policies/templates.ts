// What a key or a role may do, in a person's words, and the policy that says so.

export interface Place {
  region: string
  accountId: string
  /** The data store that it is about; null for all, those to come included. */
  datastoreId: string | null
}

export interface Template {
  id: string
  title: string
  /** One sentence: what its holder may do, and what not. */
  says: string
  /** Whether it is about a data store. */
  isOfStore: boolean
}

export const TEMPLATES: Template[] = [
  { id: 'viewer', title: 'Viewer', says: 'Searches and looks at images. Changes nothing.', isOfStore: true },
  { id: 'importer', title: 'Importer', says: 'Brings studies in, and looks at images.', isOfStore: true },
  { id: 'reader', title: 'Reader', says: 'Reads everything by program: images, metadata, jobs, tags. Changes nothing.', isOfStore: true },
  { id: 'editor', title: 'Editor', says: 'Imports, edits, copies and deletes images.', isOfStore: true },
  { id: 'administrator', title: 'Administrator', says: 'Does everything, makes keys for others too.', isOfStore: false },
  { id: 'own', title: 'A policy of your own', says: 'IAM’s JSON, as for AWS HealthImaging.', isOfStore: false }
]

interface Statement {
  Sid: string
  Effect: 'Allow' | 'Deny'
  Action: string | string[]
  Resource: string | string[]
  Condition?: Record<string, Record<string, string>>
}

const VIEW = [
  'GetDatastore', 'SearchImageSets', 'GetImageSet', 'GetImageSetMetadata', 'GetImageFrame', 'ListImageSetVersions', 'GetDICOM*', 'SearchDICOM*'
]
const SERVICE = 'medical-imaging'

/** The policy of a template in JSON; that of `own` is where a person begins. */
export function policyOf(template: string, { region, accountId, datastoreId }: Place): string {
  const store = `arn:aws:${SERVICE}:${region}:${accountId}:datastore/${datastoreId ?? '*'}`
  // An action on an image set needs to be allowed on its data store, too.
  const both = datastoreId === null ? store : [store, `${store}/imageset/*`]
  const named = (names: string[]) => names.map((name) => `${SERVICE}:${name}`)
  const choose: Statement = { Sid: 'Choose', Effect: 'Allow', Action: `${SERVICE}:ListDatastores`, Resource: '*' }
  const view: Statement = { Sid: 'Look', Effect: 'Allow', Action: named(VIEW), Resource: both }
  const upload: Statement = {
    Sid: 'Upload',
    Effect: 'Allow',
    Action: 'iam:PassRole',
    Resource: `arn:aws:iam::${accountId}:role/lightwell-console-import-${datastoreId ?? '*'}`,
    Condition: { StringEquals: { 'iam:PassedToService': `${SERVICE}.amazonaws.com` } }
  }
  const statements: Record<string, Statement[]> = {
    viewer: [choose, view],
    importer: [
      choose,
      view,
      { Sid: 'Import', Effect: 'Allow', Action: named(['StartDICOMImportJob', 'GetDICOMImportJob', 'ListDICOMImportJobs', 'StoreDICOM*']), Resource: store },
      upload
    ],
    reader: [choose, { Sid: 'Read', Effect: 'Allow', Action: named(['Get*', 'List*', 'Search*']), Resource: both }],
    editor: [choose, { Sid: 'Work', Effect: 'Allow', Action: `${SERVICE}:*`, Resource: both }, { Sid: 'Keep', Effect: 'Deny', Action: `${SERVICE}:DeleteDatastore`, Resource: '*' }, upload],
    administrator: [{ Sid: 'Everything', Effect: 'Allow', Action: '*', Resource: '*' }],
    own: [{ Sid: 'Read', Effect: 'Allow', Action: named(['Get*', 'Search*']), Resource: both }]
  }
  const title = TEMPLATES.find((each) => each.id === template)?.title
  const id = template === 'own' || title === undefined ? {} : { Id: title }
  return JSON.stringify({ Version: '2012-10-17', ...id, Statement: statements[template] ?? [] }, null, 2)
}

/** A few words for what policies allow: the template that one is word for word, else how many statements there are. */
export function summary(policies: string[], place: Pick<Place, 'region' | 'accountId'>): string {
  const title = policies.length === 1 ? titleOf(policies[0]!, place) : null
  if (title !== null) return title
  const read = policies.map((text) => (parsed(text) ?? {}) as { Statement?: unknown })
  const statements = read.reduce((sum, each) => sum + (Array.isArray(each.Statement) ? each.Statement.length : 1), 0)
  return statements === 1 ? '1 statement' : `${statements} statements`
}

/** The template that a policy is. Its `Id` alone says nothing: its author writes there what they like. */
function titleOf(text: string, place: Pick<Place, 'region' | 'accountId'>): string | null {
  const policy = parsed(text)
  const template = TEMPLATES.find((each) => each.title === policy?.['Id'])
  const [store, ...others] = storesOf([text])
  if (template === undefined || others.length > 0) return null
  const made = parsed(policyOf(template.id, { ...place, datastoreId: store ?? null }))
  return ordered(policy) === ordered(made) ? template.title : null
}

/** A policy as it is kept: the title of a template goes when the policy is another one by now. */
export function honest(text: string, place: Pick<Place, 'region' | 'accountId'>): string {
  const policy = parsed(text)
  if (policy === null || !TEMPLATES.some((each) => each.title === policy['Id']) || titleOf(text, place) !== null) return text
  const { Id: _, ...rest } = policy
  return JSON.stringify(rest, null, 2)
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

/** JSON that does not depend on the order of names. */
function ordered(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each
  )
}

/** The data stores that policies name, by id. */
export function storesOf(policies: string[]): string[] {
  return [...new Set(policies.flatMap((text) => [...text.matchAll(/:datastore\/([0-9a-z]{32})/g)].map((match) => match[1]!)))]
}

/** A JSON text laid out for reading; as it is if it is none. */
export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

/** What a shell needs so that unmodified AWS clients use this server. */
export function exports(key: { accessKeyId: string; secretAccessKey: string }, region: string, url: string): string {
  return [
    ['AWS_ACCESS_KEY_ID', key.accessKeyId],
    ['AWS_SECRET_ACCESS_KEY', key.secretAccessKey],
    ['AWS_REGION', region],
    ['AWS_DEFAULT_REGION', region],
    ['AWS_ENDPOINT_URL_MEDICAL_IMAGING', url],
    ['AWS_ENDPOINT_URL_STS', url],
    ['AWS_DISABLE_HOST_PREFIX_INJECTION', 'true']
  ].map(([name, value]) => `export ${name}='${value}'`).join('\n')
}

export const NAME = /^[A-Za-z0-9_+=,.@-]{1,64}$/
