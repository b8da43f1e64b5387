import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { LevelFragment } from '../../api/operations.ts'
import { coverage, depth, summary, times, verdict } from './backtest_words.ts'

const FITS = { statistic: 0.3, pValue: 0.5836, rejected: false }
const FAILS = { statistic: 20, pValue: 0.00001, rejected: true }
const NOTHING = { statistic: null, pValue: null, rejected: false }

function level(exceptionDays: LevelFragment['exceptionDays']): LevelFragment {
  return {
    days: 760,
    exceptions: exceptionDays.length,
    expectedExceptions: 7.6,
    kupiec: FITS,
    independence: FITS,
    conditionalCoverage: FITS,
    zone: 'GREEN',
    exceptionDays,
  }
}

test('a test accepts or rejects, with its probability', () => {
  assert.deepEqual(verdict(FITS), { words: 'accepted', probability: 'p 0.584', rejected: false })
  assert.deepEqual(verdict(FAILS), { words: 'rejected', probability: 'p < 0.001', rejected: true })
})

test('where there is nothing to test nothing is accepted', () => {
  assert.deepEqual(verdict(NOTHING), { words: 'nothing to test', probability: '–', rejected: false })
  assert.equal(depth(null, null).words, 'nothing to test')
})

test('the number of exceptions can be wrong on two sides', () => {
  assert.equal(coverage(FAILS, 30, 7.6).words, 'rejected: too many')
  assert.equal(coverage(FAILS, 0, 7.6).words, 'rejected: too few')
  assert.equal(coverage(FITS, 30, 7.6).words, 'accepted')
})

test('expected shortfall is judged by how deep the exceptions are', () => {
  assert.deepEqual(depth(0.0041, false), { words: 'accepted', probability: 'Z2 0.004', rejected: false })
  assert.match(depth(-0.9, true).words, /^rejected: losses beyond VaR are deeper/)
})

test('the exceptions are summed up with the worst of them', () => {
  const said = summary(
    level([
      { session: '2017-02-16', loss: 300, valueAtRisk: 200 },
      { session: '2018-02-05', loss: 900, valueAtRisk: 300 },
      { session: '2020-02-24', loss: 500, valueAtRisk: 400 },
    ]),
    'VaR 99%',
  )
  assert.equal(
    said,
    '3 of 760 sessions lost more than VaR 99% had said, 7.6 expected; the first on 16 Feb 2017, the last on 24 Feb 2020. ' +
      'The largest loss, $900 on 5 Feb 2018, was 3.00 times what had been said.',
  )
})

test('without an exception there is nothing more to say', () => {
  assert.equal(summary(level([]), 'VaR 99%'), '0 of 760 sessions lost more than VaR 99% had said, 7.6 expected.')
})

test('a loss has no multiple where no loss had been said', () => {
  assert.equal(times(300, 200), '1.50 times')
  assert.equal(times(300, 0), 'beyond any multiple of')
})
