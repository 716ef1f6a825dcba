import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { Search } from 'lucide-preact'
import './Fields.css'

interface Labelled {
  label: string
  hint?: ComponentChildren
  error?: string | null
  /** For screen readers only. */
  hideLabel?: boolean
}

function Field({ label, hint, error, hideLabel, id, children }: Labelled & { id: string; children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={id} class={hideLabel ? 'visually-hidden' : ''}>{label}</label>
      {children}
      {hint && <div class="hint" id={`${id}-hint`}>{hint}</div>}
      {error && <div class="error" id={`${id}-error`} role="alert">{error}</div>}
    </div>
  )
}

function described(id: string, { hint, error }: Labelled) {
  return { 'aria-invalid': error ? true : undefined, 'aria-describedby': [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ') || undefined }
}

export function TextField({ label, hint, error, hideLabel, onValue, ...rest }: Labelled & Omit<JSX.InputHTMLAttributes<HTMLInputElement>, 'label'> & { onValue?: (value: string) => void }) {
  const id = useId()
  const labels = { label, hint, error, hideLabel }
  return (
    <Field {...labels} id={id}>
      <input id={id} class="input" type="text" spellcheck={false} autocomplete="off" {...described(id, labels)} onInput={(event) => onValue?.(event.currentTarget.value)} {...rest} />
    </Field>
  )
}

export function TextArea({ label, hint, error, hideLabel, onValue, ...rest }: Labelled & Omit<JSX.TextareaHTMLAttributes<HTMLTextAreaElement>, 'label'> & { onValue?: (value: string) => void }) {
  const id = useId()
  const labels = { label, hint, error, hideLabel }
  return (
    <Field {...labels} id={id}>
      <textarea id={id} class="input area" spellcheck={false} rows={8} {...described(id, labels)} onInput={(event) => onValue?.(event.currentTarget.value)} {...rest} />
    </Field>
  )
}

export interface Option {
  value: string
  label: string
}

export function SelectField({ label, hint, error, hideLabel, options, value, onValue, ...rest }: Labelled & Omit<JSX.SelectHTMLAttributes<HTMLSelectElement>, 'label'> & { options: Option[]; value: string; onValue: (value: string) => void }) {
  const id = useId()
  const labels = { label, hint, error, hideLabel }
  return (
    <Field {...labels} id={id}>
      <select id={id} class="input" value={value} {...described(id, labels)} onChange={(event) => onValue(event.currentTarget.value)} {...rest}>
        {options.map((each) => (
          <option key={each.value} value={each.value}>{each.label}</option>
        ))}
      </select>
    </Field>
  )
}

export function Checkbox({ label, checked, onValue, hideLabel, ...rest }: { label: string; checked: boolean; onValue: (checked: boolean) => void; hideLabel?: boolean } & Omit<JSX.InputHTMLAttributes<HTMLInputElement>, 'label' | 'checked'>) {
  return (
    <label class="checkbox">
      <input type="checkbox" checked={checked} onChange={(event) => onValue(event.currentTarget.checked)} {...rest} />
      <span class={hideLabel ? 'visually-hidden' : ''}>{label}</span>
    </label>
  )
}

/** `isMain`: the key / goes to it. */
export function SearchField({ label, isMain = false, ...rest }: { label: string; isMain?: boolean; onValue?: (value: string) => void } & Omit<JSX.InputHTMLAttributes<HTMLInputElement>, 'label'>) {
  const box = useRef<HTMLDivElement>(null)
  useEffect(() => {
    if (!isMain) return
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement
      if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || document.querySelector('dialog[open]')) return
      event.preventDefault()
      box.current?.querySelector('input')?.focus()
    }
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [isMain])
  return (
    <div class="search-field" ref={box}>
      <Search aria-hidden="true" />
      <TextField label={label} hideLabel type="search" placeholder={label} {...rest} />
    </div>
  )
}
