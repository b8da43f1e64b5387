import assert from 'node:assert/strict'
import { test } from 'node:test'

import { keep, kept } from './kept.ts'

/** A storage as browsers have it, or one that is blocked. */
function given(storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null): void {
  Object.defineProperty(globalThis, 'sessionStorage', {
    configurable: true,
    get: () => {
      if (!storage) throw new DOMException('blocked', 'SecurityError')
      return storage
    },
  })
}

test('what is kept is in the browser, and what is forgotten is not', () => {
  const held = new Map<string, string>()
  given({
    getItem: (key) => held.get(key) ?? null,
    setItem: (key, text) => void held.set(key, text),
    removeItem: (key) => void held.delete(key),
  })
  assert.equal(kept('sessionStorage', 'a'), '')
  keep('sessionStorage', 'a', 'text')
  assert.equal(kept('sessionStorage', 'a'), 'text')
  assert.equal(held.get('a'), 'text')
  keep('sessionStorage', 'a', '')
  assert.equal(held.has('a'), false)
})

test('where storage is blocked the page remembers by itself', () => {
  given(null)
  assert.equal(kept('sessionStorage', 'b'), '')
  keep('sessionStorage', 'b', 'text')
  assert.equal(kept('sessionStorage', 'b'), 'text')
  keep('sessionStorage', 'b', '')
  assert.equal(kept('sessionStorage', 'b'), '')
})
