// Light or dark: as the system says, until the viewer says otherwise; that is remembered on this machine.
import { keep, kept } from '../api/kept.ts'

export type Theme = 'light' | 'dark'

const KEY = 'plimsoll.theme'
const system = matchMedia('(prefers-color-scheme: dark)')

export function theme(): Theme {
  const chosen = kept('localStorage', KEY)
  if (chosen === 'light' || chosen === 'dark') return chosen
  return system.matches ? 'dark' : 'light'
}

/** Put the theme in force, now and whenever the system changes its mind. `changed` is told of the latter. */
export function followTheme(changed: () => void): void {
  document.documentElement.dataset['theme'] = theme()
  system.addEventListener('change', () => {
    document.documentElement.dataset['theme'] = theme()
    changed()
  })
}

export function switchTheme(): void {
  const other = theme() === 'dark' ? 'light' : 'dark'
  keep('localStorage', KEY, other)
  document.documentElement.dataset['theme'] = other
}
