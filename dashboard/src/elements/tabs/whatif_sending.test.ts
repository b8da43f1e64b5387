import assert from 'node:assert/strict'
import { test } from 'node:test'

import { followed, PATIENCE_MS, published, refused, type Sending } from './whatif_sending.ts'

const AT = { topic: 'portfolio-updates', partition: 5, offset: '33' }
const ON_ITS_WAY: Sending = {
  stage: 'on its way',
  portfolioId: 'p-1',
  trades: [{ symbol: 'AAPL', quantity: -5 }],
  sequenceBefore: '14000000000012507',
}
const SENT = published(ON_ITS_WAY, AT, 1000)

function at(sequence: string): { sequence: string; calculatedMs: number; riskNumber: number } {
  return { sequence, calculatedMs: 1500, riskNumber: 61 }
}

test('what is published waits, and keeps what was sent and where it stands', () => {
  assert.equal(SENT.stage, 'published')
  assert.deepEqual(SENT.trades, ON_ITS_WAY.trades)
  assert.equal(followed(SENT, null, 1200), SENT)
})

test('a price that makes the sequence grow does not put the trades in force', () => {
  assert.equal(followed(SENT, at('14000000000099999'), 1600), SENT)
})

test('nor does an update of somebody else that was published before ours', () => {
  assert.equal(followed(SENT, at('33000000000012540'), 1600), SENT)
})

test('they are in force with the first snapshot that is of their update or of a later one', () => {
  for (const sequence of ['34000000000012540', '35000000000012540', '134000000000000001']) {
    const now = followed(SENT, at(sequence), 1600)
    assert.equal(now.stage, 'in force', sequence)
    assert.deepEqual(now.stage === 'in force' && [now.sinceMs, now.riskNumber], [1500, 61])
  }
})

test('a portfolio whose updates came through several partitions has to be stated anew', () => {
  // Its statement number is larger than any one offset, and was so before.
  const before = { ...ON_ITS_WAY, sequenceBefore: '90000000000012507' }
  const sent = published(before, AT, 1000)
  assert.equal(followed(sent, at('90000000000012600'), 1600), sent)
  assert.equal(followed(sent, at('124000000000012600'), 1600).stage, 'in force')
})

test('the first update of a portfolio is in force with its first snapshot', () => {
  const sent = published({ ...ON_ITS_WAY, sequenceBefore: '0' }, { ...AT, offset: '0' }, 1000)
  assert.equal(followed(sent, at('0'), 1600), sent)
  assert.equal(followed(sent, at('1000000000000004'), 1600).stage, 'in force')
})

test('after a while it is late, and in force all the same when the engine comes to it', () => {
  const soon = followed(SENT, at('14000000000012507'), 1000 + PATIENCE_MS - 1)
  assert.equal(soon.stage === 'published' && soon.late, false)
  const late = followed(soon, null, 1000 + PATIENCE_MS)
  assert.equal(late.stage === 'published' && late.late, true)
  assert.equal(followed(late, at('34000000000012540'), 60_000).stage, 'in force')
})

test('what is in force stays as it was told', () => {
  const now = followed(SENT, at('34000000000012540'), 1600)
  assert.equal(followed(now, at('34000000000099999'), 90_000), now)
})

test('only what is sure not to have been done is told so', () => {
  const certainly = (code: string): unknown => {
    const now = refused(ON_ITS_WAY, 'the reason', code)
    return now.stage === 'refused' && now.certainly
  }
  assert.equal(certainly('FORBIDDEN'), true)
  assert.equal(certainly('BAD_INPUT'), true)
  assert.equal(certainly('UNAVAILABLE'), false)
  assert.equal(certainly('TIMEOUT'), false)
  assert.equal(certainly('UNREACHABLE'), false)
})
