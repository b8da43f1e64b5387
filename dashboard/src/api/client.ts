// The one way to the server: questions by HTTP, which can be compressed and have statuses of their own, and what is
// followed over one websocket. What the server refuses is an `ApiError` in the server's words.
import { type Client, createClient } from 'graphql-ws'

import { ApiError } from './error.ts'
import type { TypedDocumentString } from './operations.ts'
import { pause } from './pause.ts'

/** A typed operation: what it answers, and what it asks for. */
export type Operation<Result, Variables> = TypedDocumentString<Result, Variables>

export { ApiError }

export type ConnectionState = 'connecting' | 'live' | 'reconnecting'

export interface Hooks {
  /** The server's `Date` of an answer, and when it was asked and received by this machine's clock. */
  dated(date: string | null, sentMs: number, receivedMs: number): void
  connection(state: ConnectionState): void
  roundTrip(milliseconds: number): void
  /** The token, or its absence, was refused. */
  refused(reason: string): void
}

export interface Sink<Result> {
  next(result: Result): void
  /** The server ended it; nothing follows. Connections that break do not end it: it begins anew. */
  failed(error: ApiError): void
}

interface Answer<Result> {
  data?: Result | null
  errors?: readonly { message: string; extensions?: { code?: string } }[]
}

const WAIT_MS = [250, 500, 1000, 2000, 4000, 8000]
/** A backtest may wait for others'. Longer than this, and nobody knows whether there is still somebody to answer. */
const ANSWER_WITHIN_MS = 60_000
const PING_EVERY_MS = 5000
/** A connection whose other end is gone, as after a sleep, says nothing at all: only a missing pong tells. Whatever else
 * is heard is a sign of life too: on a slow connection a pong waits behind all the rows that were sent before it. */
const SILENT_MAX_MS = 15_000

export class ApiClient {
  private readonly socket: Client
  private readonly hooks: Hooks
  private readonly token: () => string

  /** `token` gives the viewer's, or nothing; `chance` a number from 0 to 1, so that pages do not come back together. */
  constructor(base: Location, hooks: Hooks, token: () => string, chance: () => number = Math.random) {
    this.hooks = hooks
    this.token = token
    this.socket = this.openSocket(base, chance)
  }

  /** Ask once. Raises `ApiError`, or what `signal` was aborted with. */
  async ask<Result, Variables>(
    operation: Operation<Result, Variables>,
    variables: Variables,
    signal?: AbortSignal,
  ): Promise<Result> {
    const sentMs = Date.now()
    const token = this.token()
    const late = AbortSignal.timeout(ANSWER_WITHIN_MS)
    try {
      const body = JSON.stringify({ query: String(operation), variables })
      const response = await this.post(body, token, signal ? AbortSignal.any([signal, late]) : late)
      this.hooks.dated(response.headers.get('date'), sentMs, Date.now())
      return await this.read(response, token)
    } catch (failed) {
      if (failed instanceof ApiError || signal?.aborted) throw failed
      const reason = late.aborted
        ? `the server has not answered within ${ANSWER_WITHIN_MS / 1000} s`
        : 'the server cannot be reached'
      throw new ApiError(reason, 'UNREACHABLE')
    }
  }

  /** Follow a subscription through every reconnect, until the returned function is called. */
  follow<Result, Variables extends Record<string, unknown>>(
    operation: Operation<Result, Variables>,
    variables: Variables,
    sink: Sink<Result>,
  ): () => void {
    return this.socket.subscribe<Result & Record<string, unknown>>(
      { query: String(operation), variables },
      {
        next: (answer) => {
          if (answer.data) sink.next(answer.data)
          else sink.failed(errorOf(answer as Answer<unknown>))
        },
        error: (failed) => sink.failed(errorOfSocket(failed)),
        complete: () => {},
      },
    )
  }

  /** Leave; what is followed begins anew at once, with the token of now. */
  reconnect(): void {
    this.socket.terminate()
  }

  private post(body: string, token: string, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json, application/json;q=0.9',
    }
    if (token) headers['authorization'] = `Bearer ${token}`
    return fetch('/graphql', { method: 'POST', headers, body, signal, credentials: 'omit' })
  }

  private async read<Result>(response: Response, token: string): Promise<Result> {
    let answer: Answer<Result>
    try {
      answer = (await response.json()) as Answer<Result>
    } catch (failed) {
      if (!(failed instanceof SyntaxError)) throw failed
      throw new ApiError(`the server answered with status ${response.status} and no JSON`, 'UNREADABLE')
    }
    if (response.status === 401) {
      const error = new ApiError(errorOf(answer).message, 'UNAUTHENTICATED')
      // The answer to a token that was changed meanwhile says nothing of the new one.
      if (token === this.token()) this.hooks.refused(error.message)
      throw error
    }
    // An error beside data is of a part that was asked for: whoever asked wants all of it or the reason.
    if (answer.errors?.length || !answer.data) throw errorOf(answer)
    return answer.data
  }

  private openSocket(base: Location, chance: () => number): Client {
    let pinged = 0
    let refused = false
    let unanswered: ReturnType<typeof setTimeout> | undefined
    const waitForSign = (): void => {
      clearTimeout(unanswered)
      unanswered = setTimeout(() => this.socket.terminate(), SILENT_MAX_MS)
    }
    return createClient({
      url: `${base.protocol === 'https:' ? 'wss:' : 'ws:'}//${base.host}/graphql`,
      lazy: true,
      // A page that has just lost its last subscription usually begins another: opened portfolios come and go.
      lazyCloseTimeout: 5000,
      keepAlive: PING_EVERY_MS,
      connectionAckWaitTimeout: SILENT_MAX_MS,
      connectionParams: () => (this.token() ? { authorization: `Bearer ${this.token()}` } : {}),
      retryAttempts: Number.POSITIVE_INFINITY,
      // A token that was refused will be refused again; a new one opens a new socket.
      shouldRetry: () => !refused,
      retryWait: async (tried) => {
        const wait = WAIT_MS[Math.min(tried, WAIT_MS.length - 1)] ?? 8000
        await pause(wait * (0.7 + 0.6 * chance()), window)
      },
      on: {
        connecting: () => {
          refused = false
        },
        connected: () => this.hooks.connection('live'),
        closed: (event) => {
          clearTimeout(unanswered)
          unanswered = undefined
          const { code, reason } = event as CloseEvent
          refused = code === 4403
          if (refused) this.hooks.refused(reason || 'the token is not admitted any more')
          this.hooks.connection('reconnecting')
        },
        ping: (received) => {
          if (received) return
          pinged = performance.now()
          waitForSign()
        },
        pong: (received) => {
          if (!received) return
          clearTimeout(unanswered)
          unanswered = undefined
          this.hooks.roundTrip(performance.now() - pinged)
        },
        message: () => {
          if (unanswered !== undefined) waitForSign()
        },
      },
    })
  }
}

function errorOf(answer: Answer<unknown>): ApiError {
  const [first] = answer.errors ?? []
  return new ApiError(first?.message ?? 'the server gave no answer', first?.extensions?.code ?? 'UNREADABLE')
}

function errorOfSocket(failed: unknown): ApiError {
  if (Array.isArray(failed)) return errorOf({ errors: failed })
  if (failed instanceof CloseEvent) {
    return new ApiError(failed.reason || `the connection ended with code ${failed.code}`, socketCode(failed.code))
  }
  return new ApiError(String(failed), 'UNREACHABLE')
}

function socketCode(code: number): string {
  return code === 4403 ? 'UNAUTHENTICATED' : 'CONNECTION'
}
