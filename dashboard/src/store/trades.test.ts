import assert from 'node:assert/strict'
import { test } from 'node:test'

import { drawn } from './examples.ts'
import { closing, type Line, QUANTITY_MAX, readLines, readQuantity, readSymbol } from './trades.ts'

const KNOWN = ['AAPL', 'BRK.B', 'abc', 'ABC']

function lines(...typed: [symbol: string, quantity: string][]): Line[] {
  return typed.map(([symbol, quantity], key) => ({ key, symbol, quantity }))
}

function reasonOf(read: unknown): string {
  return (read as { reason?: string }).reason ?? `it was read as ${read}`
}

test('a quantity is read with its sign, whichever minus and however its thousands are marked', () => {
  for (const [typed, quantity] of [
    ['500', 500],
    ['+500', 500],
    ['-500', -500],
    ['−500', -500],
    [' 1,234,567.5 ', 1234567.5],
    ['.5', 0.5],
    ['-0.25', -0.25],
    ['007', 7],
  ] as const) {
    assert.equal(readQuantity(typed), quantity, typed)
  }
})

test('what could be meant in two ways, or in none, is no quantity', () => {
  for (const typed of [
    '1,5',
    '1.000,5',
    '12,34',
    '1 000',
    '1e5',
    '--5',
    '5-',
    '+',
    '.',
    '-.',
    ',',
    'ten',
    'NaN',
    '5.',
  ]) {
    assert.match(reasonOf(readQuantity(typed)), /is no quantity: write it like/, typed)
  }
})

test('no quantity, a change of nothing, and more than there can be are each told apart', () => {
  assert.match(reasonOf(readQuantity('  ')), /missing/)
  assert.match(reasonOf(readQuantity('-0.0')), /changes nothing/)
  assert.match(reasonOf(readQuantity(String(2 * QUANTITY_MAX))), /above/)
  assert.equal(readQuantity('-1,000,000,000,000'), -QUANTITY_MAX)
})

test('a symbol is spelt as it is known, where only its case differs and nothing else is meant', () => {
  assert.equal(readSymbol(' aapl ', KNOWN), 'AAPL')
  assert.equal(readSymbol('brk.b', KNOWN), 'BRK.B')
  assert.equal(readSymbol('abc', KNOWN), 'abc')
  assert.equal(readSymbol('Abc', KNOWN), 'Abc')
  assert.equal(readSymbol('NEW', KNOWN), 'NEW')
})

test('what cannot be a symbol is refused with the rule', () => {
  for (const typed of ['A B', 'A/B', 'Ä', '<b>', 'x'.repeat(65)]) {
    assert.match(reasonOf(readSymbol(typed, KNOWN)), /is no symbol/, typed)
  }
  assert.match(reasonOf(readSymbol('', KNOWN)), /missing/)
})

test('lines are trades in the order in which they were typed, and those of one symbol add up', () => {
  const read = readLines(lines(['MSFT', '5'], ['aapl', '-10'], ['', ''], ['MSFT', '-2']), KNOWN)
  assert.deepEqual(read, {
    trades: [
      { symbol: 'MSFT', quantity: 3 },
      { symbol: 'AAPL', quantity: -10 },
    ],
    faults: [],
  })
})

test('what adds up to nothing is no trade', () => {
  assert.deepEqual(readLines(lines(['A', '5'], ['A', '-5']), KNOWN).trades, [])
})

test('a faulty line is named by its field, and does not keep the others from being read', () => {
  const read = readLines(lines(['A B', ''], ['AAPL', '1'], ['', '7']), KNOWN)
  assert.deepEqual(read.trades, [{ symbol: 'AAPL', quantity: 1 }])
  assert.deepEqual(
    read.faults.map(({ key, field }) => [key, field]),
    [
      [0, 'symbol'],
      [0, 'quantity'],
      [2, 'symbol'],
    ],
  )
})

test('closing a position leaves nothing of it, long or short, whole units or parts', () => {
  const draw = drawn(5)
  const held = [1, -1, 0.1, -0.3, 1e-7, 123456789.123, ...Array.from({ length: 500 }, () => draw(1e9) / 997)]
  for (const units of held) assert.equal(readQuantity(closing(units, 'all')), -units, String(units))
})

test('half of whole units is whole units; of one, or of parts, it is exactly half', () => {
  assert.equal(closing(161, 'half'), '-80')
  assert.equal(closing(-161, 'half'), '80')
  assert.equal(closing(1, 'half'), '-0.5')
  assert.equal(closing(80.5, 'half'), '-40.25')
})
