import { useState } from 'preact/hooks'
import { Check, Copy } from 'lucide-preact'
import { IconButton } from './Button'
import { toast } from './Toasts'

/** An id or a command that a person may want elsewhere. */
export function Copyable({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [isDone, setDone] = useState(false)
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text)
      setDone(true)
      setTimeout(() => setDone(false), 1500)
    } catch {
      toast('The browser did not allow copying. Select the text and copy it.', 'bad')
    }
  }
  return (
    <span class="row copyable">
      <code class="ellipsis" title={text}>{text}</code>
      <IconButton label={label} onClick={() => void copy()}>{isDone ? <Check /> : <Copy />}</IconButton>
    </span>
  )
}
