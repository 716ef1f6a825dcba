/** Who made something, from the ARN: `user ana`, `role Reader (ana)`, `root`. */
export function callerName(arn: string): string {
  const resource = arn.split(':').slice(5).join(':')
  if (resource === 'root') return 'root'
  const [kind = '', ...rest] = resource.split('/')
  if (kind === 'user') return rest.join('/')
  if (kind === 'assumed-role') return rest.length > 1 ? `${rest.slice(1).join('/')} (role ${rest[0]})` : `role ${rest[0]}`
  return resource || arn
}
