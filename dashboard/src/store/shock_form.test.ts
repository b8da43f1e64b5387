import assert from 'node:assert/strict'
import { test } from 'node:test'

import { type Held, readPercent, readShock, type ShockFields } from './shock_form.ts'

const EMPTY: ShockFields = { market: '', sector: '', sectorPercent: '', symbol: '', symbolPercent: '' }
const HELD: Held = { sectors: ['Energy', 'Technology'], symbols: ['AAPL', 'GE'] }

function problems(fields: Partial<ShockFields>): object {
  const read = readShock({ ...EMPTY, ...fields }, HELD)
  return 'problems' in read ? read.problems : {}
}

test('a percentage is read as people write it', () => {
  for (const text of ['-20', '−20', '-20%', ' -20 % ', '-20.0']) assert.equal(readPercent(text), -0.2, text)
  assert.equal(readPercent('+5'), 0.05)
  assert.equal(readPercent('.5'), 0.005)
  assert.equal(readPercent('0'), 0)
  assert.equal(readPercent('  '), null)
})

test('what is no percentage is said to be none, with an example', () => {
  for (const text of ['twenty', '1e3', '2,5', '--2', '5 5', 'NaN'])
    assert.match(String(readPercent(text)), /write it like/)
})

test('a price falls to nothing at most, and rises to eleven times at most', () => {
  assert.equal(readPercent('-100'), -1)
  assert.match(String(readPercent('-100.1')), /more than 100%/)
  assert.equal(readPercent('1000'), 10)
  assert.match(String(readPercent('1001')), /1000 or less/)
})

test('a market, a sector and a symbol are shocked together', () => {
  const fields = { market: '-20', sector: ' energy ', sectorPercent: '-40', symbol: 'aapl', symbolPercent: '3' }
  assert.deepEqual(readShock(fields, HELD), {
    shock: {
      parallelFraction: -0.2,
      sectors: [{ sector: 'Energy', fraction: -0.4 }],
      symbols: [{ symbol: 'AAPL', fraction: 0.03 }],
    },
  })
})

test('a symbol alone is enough, and a market that is not named is not shocked by zero', () => {
  assert.deepEqual(readShock({ ...EMPTY, symbol: 'GE', symbolPercent: '-10' }, HELD), {
    shock: { parallelFraction: null, sectors: [], symbols: [{ symbol: 'GE', fraction: -0.1 }] },
  })
})

test('a name that is not held goes as it was typed, for the answer to name', () => {
  const read = readShock({ ...EMPTY, symbol: 'Tsla', symbolPercent: '-10' }, HELD)
  assert.deepEqual('shock' in read ? read.shock.symbols : [], [{ symbol: 'Tsla', fraction: -0.1 }])
})

test('a name without a percentage, and a percentage without a name, are each told at their field', () => {
  assert.deepEqual(Object.keys(problems({ market: '-5', sector: 'Energy' })), ['sectorPercent'])
  assert.deepEqual(Object.keys(problems({ symbolPercent: '-5' })), ['symbol'])
})

test('every field that cannot be read is named at once', () => {
  assert.deepEqual(Object.keys(problems({ market: 'down', symbol: 'GE', symbolPercent: 'lots' })), [
    'market',
    'symbolPercent',
  ])
})

test('an empty form says that nothing is shocked', () => {
  assert.deepEqual(Object.keys(problems({})), ['market'])
})
