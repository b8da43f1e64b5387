// Who asks: the token that the server may want, and whether it lets us in.
//
// The token is kept for this browser tab alone, under the name that the dashboard uses as well: in no address, which
// ends up in logs, and in no storage that outlives the tab. A token that is refused is forgotten.
import { Cell } from './cell'

const KEPT_AS = 'plimsoll.token'

/** `shut`: the server wants a token; where it refused ours, with its reason. */
export type Door = { readonly state: 'unknown' | 'open' } | { readonly state: 'shut'; readonly reason: string }

export const token = new Cell<string | null>(sessionStorage.getItem(KEPT_AS))
export const door = new Cell<Door>({ state: 'unknown' })

export function signIn(pasted: string): void {
  // People paste what they would send.
  const bare = pasted.trim().replace(/^Bearer\s+/i, '')
  sessionStorage.setItem(KEPT_AS, bare)
  token.set(bare)
}

export function signOut(): void {
  sessionStorage.removeItem(KEPT_AS)
  token.set(null)
}

/** The server does not let us in, and this is what it said. */
export function refused(reason: string): void {
  door.set({ state: 'shut', reason: token.get() === null ? '' : reason })
  signOut()
}

export function admitted(): void {
  if (door.get().state !== 'open') door.set({ state: 'open' })
}

/** What a websocket says of us when it opens. */
export function connectionParams(): Record<string, string> {
  const held = token.get()
  return held ? { authorization: `Bearer ${held}` } : {}
}

/** `fetch` with our token, unless the request has a credential of its own. Notices when the server wants another. */
export async function fetchAsUs(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  const held = token.get()
  if (held && !headers.has('authorization') && !headers.has('x-api-key')) {
    headers.set('authorization', `Bearer ${held}`)
  }
  let response: Response
  try {
    response = await fetch(input, { ...init, headers })
  } catch (error) {
    throw shown(`The server does not answer (${error instanceof Error ? error.message : error}). Is it running?`)
  }
  if (response.status === 401) refused(await reasonOf(response.clone()))
  else if (response.ok) admitted()
  return response
}

/** An error for the result pane, which would print the lines of our own code beneath it. */
export function shown(message: string): Error {
  const error = new Error(message)
  delete error.stack
  return error
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

async function reasonOf(response: Response): Promise<string> {
  try {
    const { errors } = (await response.json()) as { errors?: { message?: string }[] }
    return errors?.[0]?.message ?? response.statusText
  } catch {
    return response.statusText
  }
}
