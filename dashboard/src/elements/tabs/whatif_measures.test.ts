import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { WhatIfSideFragment } from '../../api/operations.ts'
import { type Compared, compared } from './whatif_measures.ts'

const BEFORE: WhatIfSideFragment = {
  sequence: '1000000000000001',
  calculatedAt: '2020-03-16T20:00:00+00:00',
  riskNumber: 60,
  riskBand: 'MODERATE',
  var95: 2000,
  var95Fraction: 0.02,
  var99: 3000,
  es975: 2800,
  volatility: 0.2,
  sharpeRatio: 0.5,
  beta: -0.4,
  grossExposure: 90_000,
  netExposure: 90_000,
  cash: 10_000,
  marketValue: 100_000,
  dayPnl: -500,
  coverage: 1,
  incompleteSymbols: [],
  proxiedSymbols: [],
  stale: false,
}

function line(name: string, after: Partial<WhatIfSideFragment>, before: Partial<WhatIfSideFragment> = {}): Compared {
  const found = compared({ ...BEFORE, ...before }, { ...BEFORE, ...before, ...after }).find(
    (each) => each.name === name,
  )
  assert.ok(found, name)
  return found
}

test('less risk is better and more is worse, in words and with an arrow', () => {
  const less = line('VaR 95%', { var95: 1500 })
  assert.deepEqual(
    [less.before, less.after, less.change, less.arrow, less.verdict, less.words],
    ['$2,000', '$1,500', '−$500', '▼', 'better', 'less risk'],
  )
  const more = line('Risk number', { riskNumber: 63 })
  assert.deepEqual([more.change, more.arrow, more.verdict, more.words], ['+3', '▲', 'worse', 'more risk'])
})

test('a better Sharpe ratio is better', () => {
  assert.equal(line('Sharpe', { sharpeRatio: 0.7 }).verdict, 'better')
  assert.equal(line('Sharpe', { sharpeRatio: 0.3 }).verdict, 'worse')
})

test('a beta is as much risk as it is far from 0, whichever way', () => {
  assert.equal(line('Beta', { beta: -0.9 }).words, 'more risk')
  assert.equal(line('Beta', { beta: 0.1 }).words, 'less risk')
  assert.deepEqual([line('Beta', { beta: 0.4 }).arrow, line('Beta', { beta: 0.4 }).words], ['▲', 'as much risk'])
})

test('a value, an exposure or a gain is neither better nor worse', () => {
  for (const name of ['Value', 'Gross exposure', 'Net exposure', 'Day P&L']) {
    const after = { marketValue: 1, grossExposure: 1, netExposure: 1, dayPnl: -1000 }
    assert.deepEqual([line(name, after).verdict, line(name, after).words], [null, 'less'], name)
  }
})

test('what is written as zero has no arrow', () => {
  const same = line('VaR 95%', { var95: 2000.3 })
  assert.deepEqual([same.change, same.arrow, same.words], ['$0', '', 'no change'])
})

test('what is not defined on either side has no difference', () => {
  for (const [before, after] of [
    [{ riskNumber: null }, { riskNumber: 60 }],
    [{}, { riskNumber: null }],
  ] as const) {
    const none = line('Risk number', after, before)
    assert.deepEqual([none.change, none.arrow, none.verdict, none.words], ['–', '', null, 'not defined'])
  }
})

test('every measure that was asked for is compared', () => {
  assert.deepEqual(
    compared(BEFORE, BEFORE).map(({ name }) => name),
    [
      'Risk number',
      'VaR 95%',
      'VaR 95%, of value',
      'VaR 99%',
      'ES 97.5%',
      'Volatility',
      'Sharpe',
      'Beta',
      'Gross exposure',
      'Net exposure',
      'Cash',
      'Value',
      'Day P&L',
    ],
  )
})
