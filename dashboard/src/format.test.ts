import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  briefMoney,
  count,
  decimal,
  duration,
  fittedMoney,
  fittedSignedMoney,
  money,
  NONE,
  percent,
  quantity,
  session,
  signedCount,
  signedDecimal,
  signedMoney,
  signedPercent,
  signedQuantity,
  time,
} from './format.ts'

const NUMBERS = { briefMoney, count, decimal, duration, money, percent, quantity }
const CHANGES = { signedCount, signedDecimal, signedMoney, signedPercent, signedQuantity }

test('what is not there is a dash, whatever it would have been', () => {
  for (const [name, write] of Object.entries({ ...NUMBERS, ...CHANGES, time, session })) {
    assert.equal(write(null), NONE, name)
    assert.equal(write(undefined), NONE, name)
  }
})

test('a value below zero has the minus that is as wide as a plus, never a hyphen', () => {
  const { duration: _, ...signed } = NUMBERS
  for (const [name, write] of Object.entries({ ...signed, ...CHANGES })) {
    assert.match(write(-1234.5), /^−[^-−]+$/, name)
  }
})

test('what is written as zero has no sign', () => {
  assert.equal(money(-0.3), '$0')
  assert.equal(signedMoney(0.3), '$0')
  assert.equal(signedMoney(-0.3), '$0')
  assert.equal(count(-0.3), '0')
  assert.equal(signedCount(0.3), '0')
  assert.equal(decimal(-0.004), '0.00')
  assert.equal(signedDecimal(0.004), '0.00')
  assert.equal(percent(-0.00004), '0.00%')
  assert.equal(signedPercent(0.00004), '0.00%')
  assert.equal(signedQuantity(0.00004), '0')
  assert.equal(quantity(-0.00004), '0')
})

test('a change has its sign, a value only where it is below zero', () => {
  assert.equal(signedMoney(1234.5), '+$1,235')
  assert.equal(money(1234.4), '$1,234')
  assert.equal(signedPercent(0.0213), '+2.13%')
  assert.equal(percent(0.0213, 1), '2.1%')
  assert.equal(signedDecimal(-1.274), '−1.27')
  assert.equal(signedCount(3), '+3')
  assert.equal(count(12345), '12,345')
})

test('money is abbreviated without losing its sign', () => {
  assert.equal(briefMoney(51244), '$51.2K')
  assert.equal(briefMoney(-2_010_746), '−$2.01M')
  assert.equal(briefMoney(-0.4), '−$0.4')
})

test('a quantity shows its parts, and no more of them than matter', () => {
  assert.equal(quantity(142_665), '142,665')
  assert.equal(quantity(80.5), '80.5')
  assert.equal(quantity(-1 / 3), '−0.3333')
  assert.equal(signedQuantity(500), '+500')
})

test('a duration is in the unit that a person would choose', () => {
  assert.equal(duration(-5), '0 ms')
  assert.equal(duration(12.4), '12 ms')
  assert.equal(duration(3440), '3.4 s')
  assert.equal(duration(5 * 60_000), '5 min')
  assert.equal(duration(3 * 3_600_000), '3 h')
  assert.equal(duration(4 * 86_400_000), '4 days')
  assert.equal(duration(Number.POSITIVE_INFINITY), NONE)
})

test('a unit ends where it would be rounded to the next one', () => {
  assert.equal(duration(999.7), '1.0 s')
  assert.equal(duration(59_960), '1 min')
})

test('a moment is on the viewer’s own clock, a session is the same day everywhere', () => {
  const noon = new Date(2020, 2, 16, 12, 4, 9).getTime()
  assert.equal(time(noon), '12:04:09')
  assert.equal(time(Number.NaN), NONE)
  assert.equal(session('2020-03-16'), '16 Mar 2020')
  assert.equal(session('2020-03-16T20:00:00Z'), '16 Mar 2020')
})

test('what is no date is shown as it came rather than breaking the page', () => {
  assert.equal(session('soon'), 'soon')
  assert.equal(session(''), NONE)
})

test('money of a column is in full as long as it fits, and then to four digits', () => {
  assert.equal(fittedMoney(99_999_999), '$99,999,999')
  assert.equal(fittedMoney(-99_999_999.6), '−$100M')
  assert.equal(fittedMoney(1_052_761_470_000), '$1.053T')
  assert.equal(fittedSignedMoney(2_220_870_000_000), '+$2.221T')
  assert.equal(fittedSignedMoney(-0.3), '$0')
})
