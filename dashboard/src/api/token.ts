// The viewer's token, where the server wants one. Kept for this browser tab alone, under one name for all our pages: in
// no address, which ends up in logs and histories, and in no storage that outlives the tab.

import { keep, kept } from './kept.ts'

const KEPT_AS = 'plimsoll.token'

/** The token; empty where there is none. */
export function token(): string {
  return kept('sessionStorage', KEPT_AS)
}

/** Keep another one; an empty one forgets it. */
export function setToken(given: string): void {
  keep('sessionStorage', KEPT_AS, given)
}

/** A token as people paste it: what they would send, with white space around. */
export function cleanToken(pasted: string): string {
  return pasted.trim().replace(/^bearer\s+/i, '')
}

/** Whose token it is, for people to recognise: nobody is trusted by it, for nothing is verified here. */
export function bearerOf(held: string): string {
  try {
    const claims = held.split('.')[1]?.replaceAll('-', '+').replaceAll('_', '/') ?? ''
    const { sub } = JSON.parse(atob(claims)) as { sub?: unknown }
    return typeof sub === 'string' ? sub : 'somebody'
  } catch {
    return 'somebody'
  }
}
