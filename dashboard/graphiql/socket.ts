// Subscriptions over one websocket (graphql-ws), which comes back by itself and says in the result pane when it is gone.
//
// The result pane shows one result at a time, so only the newest is kept for it: a pane that is slow skips what it
// could not have shown. When the connection is lost, the last data stays, with an error that says so beside it.
import { type ExecutionResult, GraphQLError } from 'graphql'
import { type Client, createClient, type SubscribePayload } from 'graphql-ws'

import { Cell } from './cell'
import { admitted, connectionParams, refused, shown } from './session'

const FORBIDDEN = 4403
const RETRY_MS_MAX = 4000

type Result = ExecutionResult<Record<string, unknown>, Record<string, unknown>>
export type Connection = 'none' | 'live' | 'lost'
export const connection = new Cell<Connection>('none')

export function connect(url: string): Client {
  const client = createClient({
    url,
    connectionParams,
    retryAttempts: Infinity,
    // Everything that graphql-ws itself does not hold to be final, but for a token that is refused: asking again with
    // the same one would go on for ever.
    shouldRetry: (problem) => !(problem instanceof CloseEvent && problem.code === FORBIDDEN),
    // Half of the wait is chance, so that not all pages come back at once.
    retryWait: (retries) =>
      new Promise((resolve) => {
        setTimeout(resolve, Math.min(RETRY_MS_MAX, 250 * 2 ** retries) * (0.5 + Math.random() / 2))
      }),
  })
  client.on('connected', () => {
    connection.set('live')
    admitted()
  })
  client.on('closed', (event) => {
    const { code, reason } = event as CloseEvent
    connection.set(code === 1000 || code === FORBIDDEN ? 'none' : 'lost')
    if (code === FORBIDDEN) refused(reason)
  })
  return client
}

/** The results of a subscription, until it ends or is stopped. */
export function follow(client: Client, payload: SubscribePayload): AsyncIterableIterator<Result> {
  const mailbox = new Mailbox<Result>()
  let data: Pick<Result, 'data'> = {}
  const unlisten = client.on('closed', (event) => {
    const { code, reason } = event as CloseEvent
    const message = `The connection was lost (${reason ? `${code} ${reason}` : code}). Trying again.`
    mailbox.put({ errors: [new GraphQLError(message)], ...data })
  })
  const unsubscribe = client.subscribe(payload, {
    next(result) {
      data = result.data ? { data: result.data } : {}
      mailbox.put(result as Result)
    },
    error(problem) {
      unlisten()
      connection.set('none')
      mailbox.end(problem instanceof CloseEvent ? shown(closedFor(problem)) : problem)
    },
    complete() {
      unlisten()
      mailbox.end()
    },
  })
  mailbox.onReturn = unsubscribe
  return mailbox
}

function closedFor(event: CloseEvent): string {
  return `The server closed the connection: ${event.code} ${event.reason}`.trim()
}

/** The newest value that has not been read, for one reader. A newer one takes its place. */
class Mailbox<T> implements AsyncIterableIterator<T> {
  onReturn: () => void = () => undefined
  #unread: { value: T } | undefined
  #ended: { problem?: unknown } | undefined
  #wake: () => void = () => undefined

  put(value: T): void {
    if (this.#ended) return
    this.#unread = { value }
    this.#wake()
  }

  end(problem?: unknown): void {
    this.#ended ??= problem === undefined ? {} : { problem }
    this.#wake()
  }

  async next(): Promise<IteratorResult<T>> {
    while (!this.#unread && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if (this.#unread) {
      const { value } = this.#unread
      this.#unread = undefined
      return { done: false, value }
    }
    if (this.#ended && 'problem' in this.#ended) {
      const { problem } = this.#ended
      this.#ended = {}
      throw problem
    }
    return { done: true, value: undefined }
  }

  async return(): Promise<IteratorResult<T>> {
    this.#unread = undefined
    this.end()
    this.onReturn()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}
