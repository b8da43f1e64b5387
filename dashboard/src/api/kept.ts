// What the browser keeps for a page. Where it keeps nothing (storage may be blocked, and then every access throws) the
// page remembers for as long as it is open.

type Place = 'sessionStorage' | 'localStorage'

const remembered = new Map<string, string>()

export function kept(place: Place, key: string): string {
  try {
    return globalThis[place].getItem(key) ?? ''
  } catch {
    return remembered.get(key) ?? ''
  }
}

/** Keep a text, or forget it where it is empty. */
export function keep(place: Place, key: string, text: string): void {
  try {
    if (text) globalThis[place].setItem(key, text)
    else globalThis[place].removeItem(key)
  } catch {
    remembered.set(key, text)
  }
}
