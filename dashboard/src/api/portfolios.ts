// What the feed asks of the server, and how: the stream of what changes, and the list in pages.
import type { ApiClient, Sink } from './client.ts'
import { BatchesDocument, type BatchesSubscription, RowsPageDocument, type RowsPageQuery } from './operations.ts'

export type Batch = BatchesSubscription['riskBatches']
export type Page = RowsPageQuery['portfolios']

/** Where portfolios come from. */
export interface Portfolios {
  /** Follow what changes, through every reconnect, until the returned function is called. */
  follow(sink: Sink<Batch>): () => void
  /** `first` portfolios of the list after a cursor. Raises `ApiError`, or what `signal` was aborted with. */
  page(first: number, after: string | null, signal: AbortSignal): Promise<Page>
  /** Leave the connection; what is followed begins anew at once, with the token of now. */
  reconnect(): void
}

/** Those of a server. */
export function portfoliosOf(client: ApiClient): Portfolios {
  return {
    follow: (sink) =>
      client.follow(
        BatchesDocument,
        {},
        { next: ({ riskBatches }) => sink.next(riskBatches), failed: (error) => sink.failed(error) },
      ),
    page: async (first, after, signal) => (await client.ask(RowsPageDocument, { first, after }, signal)).portfolios,
    reconnect: () => client.reconnect(),
  }
}
