import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'
import './Choices.css'

export interface Choice<Id extends string> {
  id: Id
  title: ComponentChildren
  /** One sentence more about it. */
  says?: string
}

/** One of a few, each with its explanation. `children` follow them: what the chosen one asks for besides. */
export function Choices<Id extends string>({ legend, options, value, onValue, children }: { legend: string; options: Choice<Id>[]; value: Id; onValue: (value: Id) => void; children?: ComponentChildren }) {
  const name = useId()
  return (
    <fieldset class="choices">
      <legend>{legend}</legend>
      {options.map((each) => (
        <label key={each.id} class="choice">
          <input type="radio" name={name} value={each.id} checked={value === each.id} onChange={() => onValue(each.id)} />
          <span>
            <span class="choice-title">{each.title}</span>
            {each.says !== undefined && <span class="soft small">{each.says}</span>}
          </span>
        </label>
      ))}
      {children !== undefined && children !== false && <div class="choice-more">{children}</div>}
    </fieldset>
  )
}
