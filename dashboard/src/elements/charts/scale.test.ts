import assert from 'node:assert/strict'
import { test } from 'node:test'

import { briefMoney, money } from '../../format.ts'
import { SignedScale, told } from './scale.ts'

test('losses go left from zero and gains go right, on one scale', () => {
  const scale = new SignedScale([-300, 100], 400)
  assert.equal(scale.zero, 300)
  assert.deepEqual(scale.bar(-300), { x: 0, width: 300 })
  assert.deepEqual(scale.bar(100), { x: 300, width: 100 })
  assert.deepEqual(scale.bar(0), { x: 300, width: 0 })
})

test('where everything is a loss, zero is the right end', () => {
  const scale = new SignedScale([-20, -10, null], 200)
  assert.equal(scale.zero, 200)
  assert.deepEqual(scale.bar(-10), { x: 100, width: 100 })
})

test('where nothing is known, or all is zero, bars have no length', () => {
  assert.deepEqual(new SignedScale([], 200).bar(5), { x: 0, width: 0 })
  assert.deepEqual(new SignedScale([0, undefined], 200).bar(0), { x: 0, width: 0 })
})

test('an axis writes in full what would read alike in brief', () => {
  assert.deepEqual(told([1_000_000, 1_500_000], briefMoney, money), ['$1M', '$1.5M'])
  assert.deepEqual(told([1_234_000, 1_234_500], briefMoney, money), ['$1,234,000', '$1,234,500'])
})
