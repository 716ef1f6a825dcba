import type { ComponentChildren } from 'preact'
import { render } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { X } from 'lucide-preact'
import { ChangedMeanwhile, explain } from '../api/errors'
import { session } from '../session/session'
import { Button, IconButton } from './Button'
import { Notice } from './States'
import { toast } from './Toasts'
import { onceElsewhere } from './elsewhere'
import './Dialog.css'

export interface DialogProps {
  title: string
  onClose: () => void
  children: ComponentChildren
  /** Buttons, the main one last. */
  actions?: ComponentChildren
  width?: 'narrow' | 'normal' | 'wide'
  /** Not closed by Escape or the cross, e.g. while something runs. */
  isHeld?: boolean
}

/** A modal dialog: the browser traps focus in it, returns it afterwards, and closes it on Escape. */
export function Dialog({ title, onClose, children, actions, width = 'normal', isHeld = false }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null)
  const heading = useId()
  useEffect(() => {
    const before = document.activeElement
    element.current?.showModal()
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={element}
      class={`dialog ${width}`}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault()
        if (!isHeld) onClose()
      }}
      onMouseDown={(event) => {
        if (event.target === element.current && !isHeld) onClose()
      }}
    >
      <div class="dialog-box">
        <header class="spread">
          <h2 id={heading}>{title}</h2>
          {!isHeld && <IconButton label="Close" onClick={onClose}><X /></IconButton>}
        </header>
        <div class="dialog-body">{children}</div>
        {actions && <footer>{actions}</footer>}
      </div>
    </dialog>
  )
}

export interface Question {
  title: string
  /** What goes, and whether it can be undone. */
  children: ComponentChildren
  action: string
  look?: 'primary' | 'danger'
  /** What the person has to type first, for what cannot be undone. */
  typed?: string
}

/**
 * Asks once. `run` is done while the dialog stays, its failure shown in it; resolves to whether it was done. What has changed
 * since it was shown (`ChangedMeanwhile`) can only be looked at again: the question was about something else. The question
 * goes with its page and with the session, as nobody may answer it over another page or for another person.
 */
export function confirm(question: Question, run: () => Promise<void> | void): Promise<boolean> {
  // Nobody is asked over the sign-in page.
  if (session.peek() === null) return Promise.resolve(false)
  return new Promise((resolve) => {
    const host = document.createElement('div')
    document.body.append(host)
    let isRunning = false
    let isGone = false
    let isSamePerson = true
    const takeAway = () => {
      stopWaiting()
      render(null, host)
      host.remove()
    }
    const close = (done: boolean) => {
      takeAway()
      resolve(done)
    }
    const stopWaiting = onceElsewhere((isSame) => {
      isGone = true
      isSamePerson = isSame
      if (isRunning) takeAway()
      else close(false)
    })
    const runOnce = async () => {
      isRunning = true
      try {
        await run()
      } catch (failure) {
        if (!isGone) throw failure
        // The dialog that would show it has gone; the next person need not hear of it.
        if (isSamePerson) toast(explain(failure), 'bad')
        resolve(false)
      } finally {
        isRunning = false
      }
    }
    render(<Confirmation {...question} run={runOnce} close={close} />, host)
  })
}

function Confirmation({ title, children, action, look = 'primary', typed, run, close }: Question & { run: () => Promise<void>; close: (done: boolean) => void }) {
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>()
  const [text, setText] = useState('')
  const go = async () => {
    setBusy(true)
    setError(undefined)
    try {
      await run()
      close(true)
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  const hasChanged = error instanceof ChangedMeanwhile
  return (
    <Dialog
      title={title}
      width="narrow"
      isHeld={isBusy}
      onClose={() => close(false)}
      actions={
        hasChanged ? (
          <Button look="primary" onClick={() => close(false)}>Look again</Button>
        ) : (
          <>
            <Button onClick={() => close(false)} disabled={isBusy}>Cancel</Button>
            <Button look={look} isBusy={isBusy} disabled={typed !== undefined && text !== typed} onClick={() => void go()}>{action}</Button>
          </>
        )
      }
    >
      <div class="stack">
        <div class="soft">{children}</div>
        {typed !== undefined && !hasChanged && (
          <label class="stack-tight">
            <span>Type <strong>{typed}</strong> to go on</span>
            <input class="input" value={text} onInput={(event) => setText(event.currentTarget.value)} spellcheck={false} autocomplete="off" />
          </label>
        )}
        {error !== undefined && <Notice look="bad">{explain(error)}</Notice>}
      </div>
    </Dialog>
  )
}
