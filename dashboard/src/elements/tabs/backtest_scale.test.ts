import assert from 'node:assert/strict'
import { test } from 'node:test'

import { along, dateTicks, moneyTicks } from './backtest_scale.ts'

function names(first: string, last: string): string[] {
  return dateTicks(first, last).map(({ value }) => value)
}

test('the first session lies at the beginning, the last at the end, others in between by their day', () => {
  assert.equal(along('2020-01-01', '2020-01-01', '2020-01-11'), 0)
  assert.equal(along('2020-01-11', '2020-01-01', '2020-01-11'), 1)
  assert.equal(along('2020-01-06', '2020-01-01', '2020-01-11'), 0.5)
  assert.equal(along('2020-01-06', '2020-01-06', '2020-01-06'), 0.5)
})

test('a few years are told by their beginnings, a few months by theirs', () => {
  assert.deepEqual(names('2017-02-10', '2020-02-19'), ['2018', '2019', '2020'])
  assert.deepEqual(names('2019-10-15', '2020-02-19'), ['Nov 2019', 'Dec 2019', 'Jan 2020', 'Feb 2020'])
  assert.deepEqual(names('2019-02-01', '2020-02-19'), ['Apr 2019', 'Jul 2019', 'Oct 2019', 'Jan 2020'])
})

test('however long it is, there are few ticks, in order and within the picture', () => {
  for (let year = 1990; year < 2022; year += 1) {
    const ticks = dateTicks(`${year}-05-17`, '2022-11-02')
    assert.ok(ticks.length >= 1 && ticks.length <= 8, `${year}: ${ticks.length}`)
    assert.ok(ticks.every(({ at }, index) => at >= 0 && at <= 1 && at > (ticks[index - 1]?.at ?? -1)))
  }
})

test('losses are told in round amounts, and all of them fit', () => {
  const ticks = moneyTicks([
    { session: '2020-03-16', loss: 56_641, valueAtRisk: 26_083 },
    { session: '2020-03-17', loss: 20_000, valueAtRisk: 19_000 },
  ])
  assert.deepEqual(
    ticks.map(({ value }) => value),
    [0, 20_000, 40_000, 60_000],
  )
  assert.deepEqual([ticks[0]?.at, ticks.at(-1)?.at], [0, 1])
})

test('whatever the losses are, the axis holds them without much air', () => {
  for (const most of [0.03, 1, 9.99, 10, 10.01, 777, 1e6, 4.1e7]) {
    const ticks = moneyTicks([{ session: '2020-03-16', loss: most, valueAtRisk: most / 2 }])
    const top = ticks.at(-1)?.value ?? 0
    assert.ok(top >= most * (1 - 1e-9) && top < 2.1 * most, `${most}: ${top}`)
    assert.ok(ticks.length >= 2 && ticks.length <= 6, `${most}: ${ticks.length}`)
  }
})

test('without a loss there is only the zero', () => {
  assert.deepEqual(moneyTicks([]), [{ at: 0, value: 0 }])
})
