import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Book } from './book.ts'
import { drawn, found, rows, shuffled } from './examples.ts'
import { arranged, distribution, EVERYTHING, RISKIEST_FIRST, SORT_KEYS, View } from './view.ts'

const MIXED = rows(
  found('calm', 1, { riskNumber: 20, beta: 0.4, advisorId: 'advisor-2' }),
  found('wild', 1, { riskNumber: 90, beta: 1.8, clientId: 'Smith' }),
  found('empty', 1, { riskNumber: null, beta: null }),
  found('tied', 1, { riskNumber: 90, beta: 1.2, var95: 99 }),
)

function ids(of: readonly { id: string }[]): string[] {
  return of.map(({ id }) => id)
}

test('the riskiest are first, and of two as risky the one that can lose more', () => {
  assert.deepEqual(ids(arranged(MIXED, EVERYTHING, RISKIEST_FIRST)), ['tied', 'wild', 'calm', 'empty'])
})

test('what has no value stands last in both directions', () => {
  assert.deepEqual(ids(arranged(MIXED, EVERYTHING, { key: 'beta', descending: false })), [
    'calm',
    'tied',
    'wild',
    'empty',
  ])
  assert.equal(arranged(MIXED, EVERYTHING, { key: 'beta', descending: true }).at(-1)?.id, 'empty')
})

test('by every column, the order of arrival does not matter', () => {
  const draw = drawn(7)
  const many = rows(
    ...Array.from({ length: 40 }, (_, index) =>
      found(`p-${index}`, 1, {
        riskNumber: draw(5) ? 1 + draw(9) : null,
        beta: draw(5) ? draw(3) : null,
        var95: draw(4),
        alignment: draw(3) ? { toleranceNumber: 50, gap: draw(5) - 2, verdict: 'ALIGNED' } : null,
      }),
    ),
  )
  for (const key of SORT_KEYS) {
    for (const descending of [true, false]) {
      const sort = { key, descending }
      assert.deepEqual(
        ids(arranged(shuffled(many, draw), EVERYTHING, sort)),
        ids(arranged(many, EVERYTHING, sort)),
        `${key} ${descending}`,
      )
    }
  }
})

test('a threshold leaves out what is below it and what has no number; 1 leaves out nothing', () => {
  assert.deepEqual(ids(arranged(MIXED, { ...EVERYTHING, min: 90 }, RISKIEST_FIRST)), ['tied', 'wild'])
  assert.equal(arranged(MIXED, { ...EVERYTHING, min: 1 }, RISKIEST_FIRST).length, MIXED.length)
})

test('a text is found in the ids of portfolio, advisor and client, whatever its case', () => {
  const matching = (text: string) => ids(arranged(MIXED, { ...EVERYTHING, text }, RISKIEST_FIRST))
  assert.deepEqual(matching(' SMITH '), ['wild'])
  assert.deepEqual(matching('advisor-2'), ['calm'])
  assert.deepEqual(matching('EMPT'), ['empty'])
  assert.deepEqual(matching('nobody'), [])
})

test('an advisor’s name is matched whole', () => {
  const shown = arranged(MIXED, { ...EVERYTHING, advisorId: 'advisor' }, RISKIEST_FIRST)
  assert.deepEqual(shown, [])
})

test('while the order is held, values change and rows stay where they are', () => {
  const book = new Book(() => 0)
  const view = new View(book)
  book.putBatch([found('a', 1, { riskNumber: 60 }), found('b', 1, { riskNumber: 50 })])
  view.refresh()

  view.hold(true)
  book.putBatch([found('b', 2, { riskNumber: 70 }), found('c', 1, { riskNumber: 99 })])
  assert.equal(view.refresh(), true)
  assert.deepEqual(ids(view.rows), ['a', 'b'])
  assert.equal(view.rows[1]?.riskNumber, 70)

  view.hold(false)
  assert.deepEqual(ids(view.rows), ['c', 'b', 'a'])
})

test('what is closed leaves even a held order', () => {
  const book = new Book(() => 0)
  const view = new View(book)
  book.putBatch([found('a'), found('b')])
  view.refresh()
  view.hold(true)

  book.remove(['a'])
  view.refresh()

  assert.deepEqual(ids(view.rows), ['b'])
})

test('whoever asks for another order has it at once, held or not', () => {
  const book = new Book(() => 0)
  const view = new View(book)
  book.putBatch([found('a', 1, { riskNumber: 60 }), found('b', 1, { riskNumber: 50 })])
  view.hold(true)

  view.choose(EVERYTHING, { key: 'riskNumber', descending: false })

  assert.deepEqual(ids(view.rows), ['b', 'a'])
})

test('nothing is arranged anew while nothing changed', () => {
  const book = new Book(() => 0)
  const view = new View(book)
  book.putBatch([found('a')])
  assert.equal(view.refresh(), true)
  assert.equal(view.refresh(), false)
})

test('the distribution counts each portfolio once: 9 in the first ten, 99 in the last', () => {
  const counted = distribution(
    rows(...[1, 9, 10, 99, null].map((riskNumber, index) => found(`p-${index}`, 1, { riskNumber }))),
  )
  assert.deepEqual(counted, { tens: [2, 1, 0, 0, 0, 0, 0, 0, 0, 1], without: 1 })
})

test('catching up with what changed shows what sorting everything anew would', () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const draw = drawn(seed)
    const book = new Book(() => 0)
    const view = new View(book)
    view.choose(
      { ...EVERYTHING, min: draw(2) ? 1 : 30 },
      { key: SORT_KEYS[draw(SORT_KEYS.length)] ?? 'id', descending: draw(2) === 1 },
    )
    for (let step = 1; step <= 30; step += 1) {
      const changed = Array.from({ length: draw(12) }, () =>
        found(`p-${draw(40)}`, step, { riskNumber: draw(6) ? 1 + draw(99) : null, var95: draw(5), beta: draw(3) }),
      )
      book.putBatch(changed)
      if (draw(3) === 0) book.remove([`p-${draw(40)}`])
      if (draw(4) === 0) view.hold(draw(2) === 1)
      view.refresh()
      if (view.held) continue
      assert.deepEqual(
        ids(view.rows),
        ids(arranged(book.rows.values(), view.filter, view.sort)),
        `seed ${seed}, step ${step}`,
      )
    }
  }
})

test('a view that stands still keeps its values and its order, whatever happens in the book', () => {
  const book = new Book(() => 0)
  const view = new View(book)
  book.putBatch([found('a', 1, { riskNumber: 60 }), found('b', 1, { riskNumber: 50 })])
  view.freeze()

  book.putBatch([found('b', 2, { riskNumber: 90 }), found('c', 1, { riskNumber: 99 })])
  book.remove(['a'])
  // As when a pointer comes and goes.
  view.hold(true)
  view.hold(false)

  assert.deepEqual(
    view.rows.map(({ id, riskNumber }) => [id, riskNumber]),
    [
      ['a', 60],
      ['b', 50],
    ],
  )
  assert.equal(view.known.size, 2)
})

test('a view that stands still can be sorted, and goes on from where the book is', () => {
  const book = new Book(() => 0)
  const view = new View(book)
  book.putBatch([found('a', 1, { riskNumber: 60 }), found('b', 1, { riskNumber: 50 })])
  view.freeze()
  book.putBatch([found('a', 2, { riskNumber: 10 })])

  view.choose(EVERYTHING, { key: 'riskNumber', descending: false })
  assert.deepEqual(ids(view.rows), ['b', 'a'])

  view.thaw()
  assert.deepEqual(
    view.rows.map(({ id, riskNumber }) => [id, riskNumber]),
    [
      ['a', 10],
      ['b', 50],
    ],
  )
})

test('an order that was held when the view stood still is of rows that live, once it goes on', () => {
  const book = new Book(() => 0)
  const view = new View(book)
  book.putBatch([found('a', 1, { riskNumber: 60 })])
  view.refresh()
  view.hold(true)
  view.freeze()
  view.thaw()

  book.putBatch([found('a', 2, { riskNumber: 61 })])
  view.refresh()

  assert.equal(view.rows[0]?.riskNumber, 61)
})
