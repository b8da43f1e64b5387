import assert from 'node:assert/strict'
import { test } from 'node:test'

import { joined, ordered, reordered, share, total } from './holdings.ts'

const rows = [
  { symbol: 'MSFT', value: 100 },
  { symbol: 'AMD', value: null },
  { symbol: 'GE', value: -50 },
  { symbol: 'XOM', value: 100 },
]

function symbols(of: readonly { symbol: string }[]): string[] {
  return of.map(({ symbol }) => symbol)
}

test('what is not known comes last, whichever way a table is sorted', () => {
  assert.deepEqual(symbols(ordered(rows, ({ value }) => value, true)), ['MSFT', 'XOM', 'GE', 'AMD'])
  assert.deepEqual(symbols(ordered(rows, ({ value }) => value, false)), ['GE', 'MSFT', 'XOM', 'AMD'])
})

test('texts are sorted as a reader would, and the given list stays as it is', () => {
  assert.deepEqual(symbols(ordered(rows, ({ symbol }) => symbol, false)), ['AMD', 'GE', 'MSFT', 'XOM'])
  assert.equal(rows[0]?.symbol, 'MSFT')
})

test('a head chosen again turns the order round; another begins with its largest, or with A', () => {
  const byValue = { key: 'value', descending: true }
  assert.deepEqual(reordered(byValue, 'value', false), { key: 'value', descending: false })
  assert.deepEqual(reordered(byValue, 'weight', false), { key: 'weight', descending: true })
  assert.deepEqual(reordered(byValue, 'symbol', true), { key: 'symbol', descending: false })
})

test('a holding without a price is a row without a contribution', () => {
  const found = joined([{ symbol: 'GE' }, { symbol: 'NEW' }], [{ symbol: 'GE', componentVar95: 7 }])
  assert.deepEqual(
    found.map(({ part }) => part?.componentVar95 ?? null),
    [7, null],
  )
})

test('a total is of what is known, and nothing where nothing is', () => {
  assert.equal(total([1, null, -3, undefined]), -2)
  assert.equal(total([null]), null)
})

test('a share of nothing is not told', () => {
  assert.equal(share(-5, 20), -0.25)
  assert.equal(share(5, 0), null)
  assert.equal(share(null, 20), null)
})
