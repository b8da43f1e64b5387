// How the book is filled and kept up to date. First everything that changes is followed, then the list is read page by
// page; what changes in between comes both ways and the larger sequence stays. The same again whenever the stream says
// that it began anew or may have missed something. Twenty pages that open at once ask for the same frames, and each for
// its own fifty pages of 200 rows, which the server answers in well under a millisecond each.
import { ApiError } from '../api/error.ts'
import type { Batch, Page, Portfolios } from '../api/portfolios.ts'
import type { Book } from './book.ts'

const PAGE_ROWS = 200
const AGAIN_MS = 2000

export interface FeedHooks {
  /** Rows came, or the state of the feed changed. */
  changed(): void
  /** When the row of a batch that waited longest was calculated, in milliseconds since the epoch by the server's clock. */
  arrived(calculatedMs: number): void
  /** The viewer may not see portfolios at all; asking again would be refused again. */
  forbidden(reason: string): void
}

export class Feed {
  /** Rows read of the list so far, and how many there are; null before the first page. */
  progress: { read: number; of: number } | null = null
  /** Whether the whole list has been read once. */
  complete = false
  /** The engine is silent: what is shown grows old. */
  stale = false
  error: ApiError | null = null
  private stop: (() => void) | null = null
  private reading: AbortController | null = null
  private again: ReturnType<typeof setTimeout> | undefined
  private readonly portfolios: Portfolios
  private readonly book: Book
  private readonly hooks: FeedHooks

  constructor(portfolios: Portfolios, book: Book, hooks: FeedHooks) {
    this.portfolios = portfolios
    this.book = book
    this.hooks = hooks
  }

  /** Begin. */
  start(): void {
    this.leave()
    this.stop = this.portfolios.follow({
      next: (batch) => this.take(batch),
      failed: (error) => this.failed(error),
    })
  }

  /** Begin anew, as somebody else: over a socket of their own. */
  restart(): void {
    this.leave()
    this.complete = false
    this.progress = null
    this.error = null
    this.stale = false
    this.portfolios.reconnect()
    this.start()
  }

  /** Follow and read nothing any more, until it is started again. */
  leave(): void {
    clearTimeout(this.again)
    this.reading?.abort()
    this.stop?.()
    this.stop = null
  }

  private take(batch: Batch): void {
    this.stale = batch.stale
    // Not sooner: an error that is taken back and told again is read aloud again.
    if (batch.reason === 'BEGIN') this.error = null
    const oldest = this.book.putBatch(batch.risks)
    this.book.remove(batch.closed)
    if (oldest !== null) this.hooks.arrived(oldest)
    if (batch.reason !== 'UPDATE') void this.readAll()
    this.hooks.changed()
  }

  /** Read the whole list. One reading at a time: a newer one knows more. */
  private async readAll(): Promise<void> {
    this.reading?.abort()
    clearTimeout(this.again)
    const reading = new AbortController()
    this.reading = reading
    try {
      await this.readPages(reading.signal)
      this.complete = true
      this.error = null
    } catch (failed) {
      if (reading.signal.aborted) return
      this.fail(ApiError.of(failed), () => void this.readAll())
    }
    this.hooks.changed()
  }

  private async readPages(signal: AbortSignal): Promise<void> {
    this.book.beginReading()
    let after: string | null = null
    let read = 0
    do {
      const page: Page = await this.portfolios.page(PAGE_ROWS, after, signal)
      // It may have come just before a newer reading began: then it knows nothing of what was closed in between.
      signal.throwIfAborted()
      this.book.putPage(page.nodes.flatMap(({ risk }) => (risk ? [risk] : [])))
      read += page.nodes.length
      this.progress = { read, of: Math.max(read, page.totalCount) }
      this.hooks.changed()
      after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null
    } while (after)
    this.book.endReading()
  }

  /** The server ended the stream, and nothing would begin it again. */
  private failed(error: ApiError): void {
    this.reading?.abort()
    this.fail(error, () => this.start())
    this.hooks.changed()
  }

  /** Try again in a while. Who is refused waits for another token. */
  private fail(error: ApiError, again: () => void): void {
    clearTimeout(this.again)
    this.error = error
    if (error.code === 'FORBIDDEN') this.hooks.forbidden(error.message)
    else if (!error.wantsSignIn) this.again = setTimeout(again, AGAIN_MS)
  }
}
