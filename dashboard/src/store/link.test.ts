import assert from 'node:assert/strict'
import { test } from 'node:test'

import { drawn } from './examples.ts'
import { type Link, readLink, TABS, writeLink } from './link.ts'
import { EVERYTHING, RISKIEST_FIRST, SORT_KEYS } from './view.ts'

const AT_DEFAULT: Link = { filter: EVERYTHING, sort: RISKIEST_FIRST, portfolioId: '', tab: 'overview' }
const TEXTS = ['', 'a', 'p-17', 'a b', '#&=+%', '100%', 'Ünïcödé 漢字', '\'"<b>', '\t\n', '-', 'min=70']

test('any link is read as it was written', () => {
  const draw = drawn(3)
  const one = <Each>(of: readonly Each[]): Each => of[draw(of.length)] as Each
  for (let round = 0; round < 2000; round += 1) {
    const portfolioId = one(TEXTS)
    const link: Link = {
      filter: { min: 1 + draw(99), advisorId: one(TEXTS), text: one(TEXTS) },
      sort: { key: one(SORT_KEYS), descending: draw(2) === 1 },
      portfolioId,
      // Without a portfolio there are no tabs.
      tab: portfolioId ? one(TABS) : 'overview',
    }
    assert.deepEqual(readLink(writeLink(link)), link, writeLink(link))
  }
})

test('what is at its default is not mentioned', () => {
  assert.equal(writeLink(AT_DEFAULT), '')
  assert.equal(writeLink({ ...AT_DEFAULT, portfolioId: 'p-1' }), '#portfolio=p-1')
})

test('an address without a hash, or with an empty one, shows the page as it is at first', () => {
  assert.deepEqual(readLink(''), AT_DEFAULT)
  assert.deepEqual(readLink('#'), AT_DEFAULT)
})

test('a hash that nobody wrote still opens the page', () => {
  const numbers = ['0', '100', 'NaN', '1.5', '-5', 'Infinity', '', '70x'].map((min) => `#min=${min}`)
  const orders = ['constructor', '__proto__', '--riskNumber', '', '-'].map((sort) => `#sort=${sort}`)
  const others = ['#tab=admin', '#tab=__proto__', '#%', '#%E0%A4%A', '#&&==&', '###', '#/min=70', '#token=secret']
  for (const hash of [...numbers, ...orders, ...others]) assert.deepEqual(readLink(hash), AT_DEFAULT, hash)
})

test('what cannot be read does not take along what can', () => {
  const link = readLink('#min=lots&portfolio=p-1&tab=nowhere&sort=-beta')
  assert.equal(link.filter.min, 1)
  assert.equal(link.portfolioId, 'p-1')
  assert.equal(link.tab, 'overview')
  assert.deepEqual(link.sort, { key: 'beta', descending: true })
})
