import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'

import type { Sink } from '../api/client.ts'
import { ApiError } from '../api/error.ts'
import type { Batch, Page, Portfolios } from '../api/portfolios.ts'
import { Book } from './book.ts'
import { found } from './examples.ts'
import { Feed } from './feed.ts'

interface Asked {
  after: string | null
  signal: AbortSignal
  answer(page: Page): void
  refuse(error: unknown): void
}

/** A server whose every answer is given by hand. */
class ByHand implements Portfolios {
  sink: Sink<Batch> | null = null
  followed = 0
  reconnects = 0
  readonly asked: Asked[] = []

  follow(sink: Sink<Batch>): () => void {
    this.followed += 1
    this.sink = sink
    return () => {
      this.sink = null
    }
  }

  page(_first: number, after: string | null, signal: AbortSignal): Promise<Page> {
    return new Promise((answer, refuse) => {
      this.asked.push({ after, signal, answer, refuse })
      signal.addEventListener('abort', () => refuse(signal.reason))
    })
  }

  reconnect(): void {
    this.reconnects += 1
  }
}

function page(ids: readonly string[], next: string | null = null, totalCount = ids.length): Page {
  return {
    totalCount,
    nodes: ids.map((id) => ({ risk: found(id, 5) })),
    pageInfo: { hasNextPage: next !== null, endCursor: next },
  }
}

function batch(reason: Batch['reason'], said: Partial<Batch> = {}): Batch {
  return { reason, risks: [], closed: [], stale: false, ...said }
}

/** A feed that has begun, with timers that pass when the test says so. */
function begun(t: TestContext): { feed: Feed; book: Book; server: ByHand; arrived: number[]; forbidden: string[] } {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const book = new Book(() => 0)
  const server = new ByHand()
  const arrived: number[] = []
  const forbidden: string[] = []
  const feed = new Feed(server, book, {
    changed: () => {},
    arrived: (ms) => arrived.push(ms),
    forbidden: (reason) => forbidden.push(reason),
  })
  feed.start()
  return { feed, book, server, arrived, forbidden }
}

/** Let everything that was answered be taken in: promises settle before an immediate comes. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function answered(server: ByHand, given: Page): Promise<void> {
  server.asked.at(-1)?.answer(given)
  await settled()
}

test('what changes is followed first, and the list is read once the stream has begun', async (t) => {
  const { feed, book, server } = begun(t)
  assert.equal(server.followed, 1)
  assert.equal(server.asked.length, 0)

  server.sink?.next(batch('BEGIN'))
  await answered(server, page(['a', 'b'], 'cursor-b', 3))
  assert.deepEqual(feed.progress, { read: 2, of: 3 })
  assert.equal(feed.complete, false)
  assert.equal(server.asked.at(-1)?.after, 'cursor-b')

  await answered(server, page(['c'], null, 3))
  assert.deepEqual([...book.rows.keys()], ['a', 'b', 'c'])
  assert.equal(feed.complete, true)
})

test('what changes while the list is read stays', async (t) => {
  const { book, server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  server.sink?.next(batch('UPDATE', { risks: [found('a', 9, { riskNumber: 88 }), found('z', 1)] }))
  await answered(server, page(['a']))

  assert.equal(book.rows.get('a')?.riskNumber, 88)
  assert.ok(book.rows.has('z'))
})

test('an update reads nothing; a gap in the stream reads the list again', async (t) => {
  const { book, server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  await answered(server, page(['a', 'b']))
  server.sink?.next(batch('UPDATE', { risks: [found('a', 6)] }))
  assert.equal(server.asked.length, 1)

  server.sink?.next(batch('RESYNC'))
  assert.equal(server.asked.length, 2)
  await answered(server, page(['b']))
  assert.deepEqual([...book.rows.keys()], ['b'])
})

test('a portfolio that is closed does not come back by a late page', async (t) => {
  const { book, server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  await answered(server, page(['a'], 'cursor-a'))
  server.sink?.next(batch('UPDATE', { closed: ['b'] }))
  await answered(server, page(['b']))

  assert.deepEqual([...book.rows.keys()], ['a'])
})

test('nor by a page that came just before the list is read again', async (t) => {
  const { book, server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  // Answered, but not yet taken in, when the stream says that something may have been missed.
  server.asked[0]?.answer(page(['closed']))
  server.sink?.next(batch('RESYNC', { closed: ['closed'] }))
  await settled()
  await answered(server, page(['a']))

  assert.deepEqual([...book.rows.keys()], ['a'])
})

test('one reading at a time: a newer one ends the older', async (t) => {
  const { server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  server.sink?.next(batch('RESYNC'))
  await settled()

  assert.deepEqual(
    server.asked.map(({ signal }) => signal.aborted),
    [true, false],
  )
})

test('a reading that fails is told of, and tried again', async (t) => {
  const { feed, book, server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  server.asked[0]?.refuse(new ApiError('Redis is away', 'UNAVAILABLE'))
  await settled()
  assert.equal(feed.error?.message, 'Redis is away')
  assert.equal(feed.complete, false)

  t.mock.timers.tick(2000)
  await answered(server, page(['a']))
  assert.equal(feed.error, null)
  assert.deepEqual([...book.rows.keys()], ['a'])
})

test('a failure of the page itself is told of as well', async (t) => {
  const { feed, server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  server.asked[0]?.refuse(new TypeError('nodes is not iterable'))
  await settled()

  assert.match(feed.error?.message ?? '', /nodes is not iterable/)
})

test('a stream that the server ends begins anew after a while', (t) => {
  const { feed, server } = begun(t)
  server.sink?.failed(new ApiError('too many subscriptions', 'LIMIT'))
  assert.equal(feed.error?.code, 'LIMIT')
  assert.equal(server.followed, 1)

  t.mock.timers.tick(2000)
  assert.equal(server.followed, 2)
})

test('whoever is not admitted is not asked about again until they are somebody else', async (t) => {
  const { feed, server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  server.asked[0]?.refuse(new ApiError('the token has expired', 'UNAUTHENTICATED'))
  await settled()
  server.sink?.failed(new ApiError('the token has expired', 'UNAUTHENTICATED'))
  t.mock.timers.tick(60_000)
  assert.equal(server.followed, 1)
  assert.equal(server.asked.length, 1)

  feed.restart()
  assert.deepEqual([server.followed, server.reconnects, feed.error], [2, 1, null])
})

test('somebody else begins with nothing read, and the reading for the one before is ended', async (t) => {
  const { feed, server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  await answered(server, page(['a'], 'cursor-a'))

  feed.restart()

  assert.equal(server.asked.at(-1)?.signal.aborted, true)
  assert.equal(feed.progress, null)
  assert.equal(feed.complete, false)
})

test('a silent engine is told of, and when what waited longest of a batch was calculated', (t) => {
  const { feed, server, arrived } = begun(t)
  server.sink?.next(
    batch('UPDATE', {
      stale: true,
      risks: ['20:00:01.5', '20:00:02', '20:00:01'].map((time, index) =>
        found(`p-${index}`, 1, { calculatedAt: `2020-03-16T${time}+00:00` }),
      ),
    }),
  )
  assert.equal(feed.stale, true)
  assert.deepEqual(arrived, [Date.parse('2020-03-16T20:00:01Z')])
})

test('who may not see portfolios is told so, and does not ask again and again', (t) => {
  const { server, forbidden } = begun(t)

  server.sink?.failed(new ApiError('riskBatches is not for operator', 'FORBIDDEN'))
  t.mock.timers.tick(60_000)

  assert.deepEqual(forbidden, ['riskBatches is not for operator'])
  assert.equal(server.followed, 1)
})

test('an error is told until it is over, and not anew with each try', (t) => {
  const { feed, server } = begun(t)
  server.sink?.failed(new ApiError('Redis is away', 'UNAVAILABLE'))

  t.mock.timers.tick(2000)
  assert.equal(server.followed, 2)
  assert.equal(feed.error?.message, 'Redis is away')

  server.sink?.next(batch('BEGIN'))
  assert.equal(feed.error, null)
})

test('a stream that ends while the list is read begins once, and the list is read once', async (t) => {
  const { server } = begun(t)
  server.sink?.next(batch('BEGIN'))
  server.asked.at(-1)?.refuse(new ApiError('Redis is away', 'UNAVAILABLE'))
  await settled()
  server.sink?.failed(new ApiError('Redis is away', 'UNAVAILABLE'))

  t.mock.timers.tick(2000)

  assert.equal(server.followed, 2)
  assert.equal(server.asked.length, 1)
})
