import assert from 'node:assert/strict'
import { test } from 'node:test'

import { csv } from './csv.ts'
import { found, rows } from './examples.ts'

/** A reader of RFC 4180, so that what is written is judged by what is read. */
function read(text: string): string[][] {
  const lines: string[][] = [[]]
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/g)) {
    if (end === '' && plain === '' && quoted === undefined) break
    lines.at(-1)?.push(quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'))
    if (end === '\r\n') lines.push([])
  }
  return lines.slice(0, -1)
}

function cellsOf(said: Parameters<typeof found>[2]): Record<string, string> {
  const [head, line] = read(csv(rows(found('p-1', 7, said))))
  return Object.fromEntries((head ?? []).map((name, place) => [name, line?.[place] ?? '(missing)']))
}

test('numbers are in full, and what is not there is empty', () => {
  const cells = cellsOf({ marketValue: 1234567.891, sharpeRatio: null, alignment: null })
  assert.equal(cells['market_value'], '1234567.891')
  assert.equal(cells['sharpe_ratio'], '')
  assert.equal(cells['alignment'], '')
  assert.equal(cells['sequence'], '7')
  assert.equal(cells['calculated_at'], '2020-03-16T20:00:00.000Z')
})

test('a text with commas, quotes or line breaks is read as it was', () => {
  for (const clientId of ['Smith, John', 'the "old" one', 'two\r\nlines', ',",\n"']) {
    assert.equal(cellsOf({ clientId })['client_id'], clientId)
  }
})

test('a text that a spreadsheet would carry out is shown instead', () => {
  for (const clientId of ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', '\n=1', '=cmd|"/c calc"!A1']) {
    assert.equal(cellsOf({ clientId })['client_id'], `'${clientId}`)
  }
})

test('a loss is a number all the same', () => {
  assert.equal(cellsOf({ dayPnl: -12.5 })['day_pnl'], '-12.5')
})

test('there is a line for each row, in the order given, below one head', () => {
  const lines = read(csv(rows(found('b'), found('a'))))
  assert.deepEqual(
    lines.map(([first]) => first),
    ['portfolio_id', 'b', 'a'],
  )
  assert.equal(new Set(lines.map((line) => line.length)).size, 1)
})

test('a file says how many symbols are in none of its numbers', () => {
  assert.equal(cellsOf({ incompleteSymbols: ['NOPE', 'NADA'] })['symbols_without_price'], '2')
})
