import assert from 'node:assert/strict'
import { test } from 'node:test'

import { bearerOf, cleanToken } from './token.ts'

const part = (claims: unknown): string => Buffer.from(JSON.stringify(claims)).toString('base64url')

test('a token may be pasted as it would be sent', () => {
  assert.equal(cleanToken('  Bearer a.b.c\n'), 'a.b.c')
  assert.equal(cleanToken('bearer   a.b.c'), 'a.b.c')
  assert.equal(cleanToken('a.b.c'), 'a.b.c')
})

test('a bearer is named by the subject of the token', () => {
  assert.equal(bearerOf(`x.${part({ sub: 'advisor-3' })}.y`), 'advisor-3')
  assert.equal(bearerOf(`x.${part({ sub: 'ünal>?~' })}.y`).length > 0, true)
})

test('whoever shows something else is somebody', () => {
  for (const held of ['', 'x', 'x.y', 'x.%%%.y', `x.${part({ sub: 7 })}.y`, `x.${part(null)}.y`]) {
    assert.equal(bearerOf(held), 'somebody')
  }
})
