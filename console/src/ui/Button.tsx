import type { ComponentChildren, JSX } from 'preact'
import { forwardRef } from 'preact/compat'
import './Button.css'
import { Spinner } from './States'

export interface ButtonProps extends Omit<JSX.ButtonHTMLAttributes<HTMLButtonElement>, 'icon'> {
  look?: 'primary' | 'plain' | 'quiet' | 'danger'
  icon?: ComponentChildren
  isBusy?: boolean
  children?: ComponentChildren
}

export const Button = forwardRef<HTMLButtonElement, ButtonProps>(function Button(
  { look = 'plain', icon, isBusy = false, children, class: extra, disabled, type = 'button', ...rest },
  ref
) {
  return (
    <button ref={ref} type={type} class={`button ${look} ${extra ?? ''}`} disabled={disabled || isBusy} aria-busy={isBusy} {...rest}>
      {isBusy ? <Spinner /> : icon}
      {children}
    </button>
  )
})

/** A button that is a picture: `label` is its name for screen readers and its tooltip. */
export const IconButton = forwardRef<HTMLButtonElement, ButtonProps & { label: string }>(function IconButton({ label, children, class: extra, ...rest }, ref) {
  return (
    <Button ref={ref} look="quiet" class={`icon-only ${extra ?? ''}`} aria-label={label} title={label} {...rest}>
      {children}
    </Button>
  )
})

/** A link that looks like a button. */
export function ButtonLink({ href, look = 'plain', icon, children, ...rest }: JSX.AnchorHTMLAttributes<HTMLAnchorElement> & { look?: ButtonProps['look']; icon?: ComponentChildren }) {
  return (
    <a href={href} class={`button ${look}`} {...rest}>
      {icon}
      {children}
    </a>
  )
}
