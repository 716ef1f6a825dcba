import { useEffect, useState } from 'preact/hooks'
import { type Validity, validatePolicy } from '../../api/access'
import { isAbort } from '../../api/errors'
import { TextArea } from '../../ui/Fields'
import { Notice } from '../../ui/States'

/** Where the syntax of a JSON text breaks, for people: null if it is sound. */
export function syntaxFault(text: string): string | null {
  try {
    JSON.parse(text)
    return null
  } catch (error) {
    const message = error instanceof Error ? error.message : ''
    const at = /position (\d+)/.exec(message)
    const line = at === null ? null : text.slice(0, Number(at[1])).split('\n').length
    return text.trim() === '' ? 'A policy is a JSON object: { "Version": "2012-10-17", "Statement": [ … ] }' : `This is not JSON yet${line === null ? '' : `: look at line ${line}`}`
  }
}

/** A policy in JSON, checked by the server while it is typed, in the words of its command line. */
export function PolicyEditor({ label, hint, kind = 'identity', value, onValue, onValid, rows = 12 }: { label: string; hint?: string; kind?: 'identity' | 'trust'; value: string; onValue: (text: string) => void; onValid?: (isValid: boolean) => void; rows?: number }) {
  const [found, setFound] = useState<Validity | null>(null)
  const fault = syntaxFault(value)
  useEffect(() => {
    onValid?.(false)
    if (fault !== null) {
      setFound(null)
      return
    }
    const controller = new AbortController()
    const timer = setTimeout(() => {
      validatePolicy(value, kind, controller.signal).then(
        (answer) => {
          setFound(answer)
          onValid?.(answer.isValid)
        },
        (error: unknown) => {
          // Whoever creates it is told then.
          if (!isAbort(error)) onValid?.(true)
        }
      )
    }, 300)
    return () => {
      clearTimeout(timer)
      controller.abort()
    }
  }, [value, kind])
  const message = fault ?? (found?.isValid === false ? found.message : null)
  return (
    <div class="stack-tight">
      <TextArea label={label} hint={hint} error={message} value={value} onValue={onValue} rows={rows} />
      {fault === null && found?.isValid && found.warnings.map((warning) => <Notice key={warning} look="warn">{warning}</Notice>)}
    </div>
  )
}
