import { signal } from '@preact/signals'

export type Theme = 'system' | 'dark' | 'light'
const KEY = 'lightwell-theme'

function saved(): Theme {
  try {
    const found = localStorage.getItem(KEY)
    return found === 'dark' || found === 'light' ? found : 'system'
  } catch {
    return 'system'
  }
}

export const theme = signal<Theme>(saved())

export function setTheme(chosen: Theme): void {
  theme.value = chosen
  try {
    localStorage.setItem(KEY, chosen)
  } catch {
    // Kept for this page only.
  }
  applyTheme()
}

export function applyTheme(): void {
  if (theme.value === 'system') delete document.documentElement.dataset['theme']
  else document.documentElement.dataset['theme'] = theme.value
}
