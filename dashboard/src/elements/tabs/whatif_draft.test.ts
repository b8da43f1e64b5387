import assert from 'node:assert/strict'
import { test } from 'node:test'

import { DRAFTS_MAX, Drafts } from './whatif_draft.ts'

test('a draft is found again, and is another one for every portfolio', () => {
  const drafts = new Drafts()
  drafts.of('', 'p-1').add('AAPL', '5')
  assert.equal(drafts.of('', 'p-1').lines.at(-1)?.symbol, 'AAPL')
  assert.equal(drafts.of('', 'p-2').lines.at(-1)?.symbol, '')
})

test('whoever signs in as somebody else finds nothing', () => {
  const drafts = new Drafts()
  drafts.of('one', 'p-1').add('AAPL', '5')
  assert.equal(drafts.of('another', 'p-1').lines.length, 1)
  assert.equal(drafts.of('one', 'p-1').lines.length, 1)
})

test('the draft looked at longest ago gives way', () => {
  const drafts = new Drafts()
  drafts.of('', 'first').add('A', '1')
  drafts.of('', 'second').add('B', '1')
  for (let other = 2; other < DRAFTS_MAX; other += 1) drafts.of('', `p-${other}`)
  drafts.of('', 'first')
  drafts.of('', 'one too many')

  assert.equal(drafts.of('', 'first').lines.at(-1)?.symbol, 'A')
  assert.equal(drafts.of('', 'second').lines.at(-1)?.symbol, '')
})

test('there is always a line to type in, and no two lines are taken for one another', () => {
  const draft = new Drafts().of('', 'p-1')
  const [first] = draft.lines
  assert.ok(first)
  const second = draft.add()
  draft.remove(first.key)
  assert.deepEqual(draft.lines, [second])
  draft.remove(second.key)
  assert.equal(draft.lines.length, 1)
  assert.notEqual(draft.lines[0]?.key, second.key)

  draft.add('AAPL', '5')
  draft.clear()
  assert.deepEqual(
    draft.lines.map(({ symbol }) => symbol),
    [''],
  )
})
