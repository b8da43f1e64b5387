// Who asks: the token that the server may want, and whether it lets us in. A token that is refused is forgotten.
import { cleanToken, token as kept, setToken } from '../src/api/token.ts'
import { Cell } from './cell'

/** `shut`: the server wants a token; where it refused ours, with its reason. */
export type Door = { readonly state: 'unknown' | 'open' } | { readonly state: 'shut'; readonly reason: string }

export const token = new Cell<string | null>(kept() || null)
export const door = new Cell<Door>({ state: 'unknown' })

export function signIn(pasted: string): void {
  const bare = cleanToken(pasted)
  setToken(bare)
  token.set(bare)
}

export function signOut(): void {
  setToken('')
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

async function reasonOf(response: Response): Promise<string> {
  try {
    const { errors } = (await response.json()) as { errors?: { message?: string }[] }
    return errors?.[0]?.message ?? response.statusText
  } catch {
    return response.statusText
  }
}
