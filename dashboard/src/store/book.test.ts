import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { RowFragment } from '../api/operations.ts'
import { Book, change, isLater } from './book.ts'
import { drawn, found, shuffled } from './examples.ts'

type Delivery = { how: 'page' | 'batch'; rows: RowFragment[] }

/** What is said of each portfolio; not when this page first saw it, which depends on the order by its very sense. */
function said(book: Book): unknown[] {
  return [...book.rows.values()]
    .map(({ openedAt: _o, movedMs: _m, movedUp: _u, reading: _r, version: _v, ...rest }) => rest)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
}

function bookOf(deliveries: readonly Delivery[]): Book {
  const book = new Book(() => 0)
  for (const { how, rows } of deliveries) how === 'page' ? book.putPage(rows) : book.putBatch(rows)
  return book
}

test('a sequence is later by its value, however many digits it has', () => {
  assert.equal(isLater('10', '9'), true)
  assert.equal(isLater('9', '10'), false)
  assert.equal(isLater('14000000000012436', '14000000000012435'), true)
  assert.equal(isLater('9007199254740993', '9007199254740992'), true)
  assert.equal(isLater('7', '7'), false)
})

test('any order of pages and batches, repeated or not, gives the same book', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const draw = drawn(seed)
    const deliveries: Delivery[] = Array.from({ length: 12 }, () => ({
      how: draw(2) ? 'page' : 'batch',
      rows: Array.from({ length: 1 + draw(4) }, () => {
        const sequence = 1 + draw(120)
        // A sequence names one snapshot: the same one always says the same.
        return found(`p-${draw(5)}`, sequence, { riskNumber: 1 + (sequence % 99), marketValue: 1000 + sequence })
      }),
    }))
    const again = shuffled([...deliveries, ...deliveries.slice(0, 4)], draw)

    assert.deepEqual(said(bookOf(again)), said(bookOf(deliveries)), `seed ${seed}`)
  }
})

test('a late page never takes a row back in time', () => {
  const book = new Book(() => 0)
  book.putBatch([found('p-1', 10, { riskNumber: 60 })])

  book.putPage([found('p-1', 9, { riskNumber: 40 })])

  assert.equal(book.rows.get('p-1')?.riskNumber, 60)
})

test('a server that counts from the beginning again is believed, and late pages of it are late as ever', () => {
  const book = new Book(() => 0)
  book.putBatch([found('p-1', 97_000, { riskNumber: 60 }), found('p-2', 97_000, { riskNumber: 60 })])

  book.beginReading()
  book.putBatch([found('p-2', 12, { riskNumber: 30 })])
  book.putPage([found('p-1', 11, { riskNumber: 20 }), found('p-2', 11, { riskNumber: 20 })])
  book.endReading()
  assert.deepEqual(
    [...book.rows.values()].map(({ riskNumber }) => riskNumber),
    [20, 30],
  )

  book.putBatch([found('p-1', 13, { riskNumber: 40 })])
  assert.equal(book.rows.get('p-1')?.riskNumber, 40)
})

test('what is closed stays closed while a reading runs, whatever its late pages hold', () => {
  const book = new Book(() => 0)
  book.beginReading()
  book.putPage([found('p-1', 5), found('p-2', 5)])
  book.remove(['p-1'])

  book.putPage([found('p-1', 5)])
  book.endReading()

  assert.deepEqual([...book.rows.keys()], ['p-2'])
})

test('a portfolio that was closed opens again with its next update', () => {
  const book = new Book(() => 0)
  book.beginReading()
  book.remove(['p-1'])

  book.putBatch([found('p-1', 6)])
  book.putPage([found('p-1', 7)])

  assert.equal(book.rows.get('p-1')?.sequence, '7')
})

test('after a reading, what it did not meet is gone', () => {
  const book = new Book(() => 0)
  book.putBatch([found('gone'), found('paged'), found('changed')])

  book.beginReading()
  book.putPage([found('paged')])
  book.putBatch([found('changed', 2), found('new')])
  book.endReading()

  assert.deepEqual([...book.rows.keys()].sort(), ['changed', 'new', 'paged'])
})

test('the change is told from when the page first saw the portfolio', () => {
  const book = new Book(() => 0)
  book.putBatch([found('p-1', 1, { riskNumber: 50 })])
  book.putBatch([found('p-1', 2, { riskNumber: 57 })])
  book.putBatch([found('p-1', 3, { riskNumber: 54 })])

  const row = book.rows.get('p-1')
  assert.ok(row)
  assert.equal(change(row), 4)
  assert.equal(row.movedUp, false)
})

test('there is no change from, or to, no risk number', () => {
  const book = new Book(() => 0)
  book.putBatch([found('p-1', 1, { riskNumber: null })])
  book.putBatch([found('p-1', 2, { riskNumber: 57 })])

  const row = book.rows.get('p-1')
  assert.ok(row)
  assert.equal(change(row), null)
})

test('a row is said to have moved when its risk number did, and at no other time', () => {
  let now = 100
  const book = new Book(() => now)
  book.putBatch([found('p-1', 1)])
  now = 200
  book.putBatch([found('p-1', 2, { var95: 25 })])
  assert.equal(book.rows.get('p-1')?.movedMs, 0)

  now = 300
  book.putBatch([found('p-1', 3, { riskNumber: 51 })])
  assert.equal(book.rows.get('p-1')?.movedMs, 300)
})

test('a view is told of what changes and of nothing else', () => {
  const book = new Book(() => 0)
  book.putBatch([found('p-1', 2)])
  const { version } = book
  book.putPage([found('p-1', 1), found('p-1', 2)])
  book.remove(['unknown'])
  assert.equal(book.version, version)

  book.remove(['p-1'])
  assert.notEqual(book.version, version)
})

test('somebody else who looks on finds nothing, and nothing stays closed for them', () => {
  const book = new Book(() => 0)
  book.beginReading()
  book.putBatch([found('p-1'), found('p-2')])
  book.remove(['p-2'])

  book.clear()
  assert.equal(book.rows.size, 0)
  book.putPage([found('p-2')])
  assert.equal(book.rows.size, 1)
})
