import assert from 'node:assert/strict'
import { test } from 'node:test'

import { drawn } from './examples.ts'
import { ServerClock } from './server_clock.ts'

/**
 * Answers of a server whose clock is `offsetMs` ahead, `count` of them, each some time on its way there and back. It
 * writes its `Date` anew once a second, at some moment within it.
 */
function answers(clock: ServerClock, offsetMs: number, count: number, seed = 1, beganMs = 1_600_000_000_000): void {
  const draw = drawn(seed)
  const phaseMs = draw(1000)
  for (let each = 0; each < count; each += 1) {
    const sentMs = beganMs + 2000 * each + draw(1000)
    const servedMs = sentMs + 1 + draw(40) + offsetMs
    const receivedMs = servedMs - offsetMs + 1 + draw(40)
    const writtenMs = Math.floor((servedMs - phaseMs) / 1000) * 1000 + phaseMs
    clock.note(new Date(writtenMs).toUTCString(), sentMs, receivedMs)
  }
}

test('while nothing is known the clocks are taken to agree', () => {
  const clock = new ServerClock()
  assert.equal(clock.offsetMs, 0)
  clock.note(null, 0, 10)
  clock.note('no date', 0, 10)
  assert.equal(clock.offsetMs, 0)
})

test('clocks that agree are never said to differ, whenever the server writes its date', () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const clock = new ServerClock()
    answers(clock, 0, 50, seed)
    assert.equal(clock.offsetMs, 0, `seed ${seed}`)
  }
})

test('one answer tells a difference to within a second, many to within half of one', () => {
  for (const offsetMs of [-7300, 4321, 86_400_000]) {
    const once = new ServerClock()
    answers(once, offsetMs, 1)
    assert.ok(Math.abs(once.offsetMs - offsetMs) <= 1100, `${offsetMs}: ${once.offsetMs}`)

    const often = new ServerClock()
    answers(often, offsetMs, 40)
    assert.ok(Math.abs(often.offsetMs - offsetMs) <= 600, `${offsetMs}: ${often.offsetMs}`)
  }
})

test('a clock that is set is believed from the next answer on', () => {
  const clock = new ServerClock()
  answers(clock, 5000, 40)
  answers(clock, -60_000, 40, 2, 1_600_000_100_000)
  assert.ok(Math.abs(clock.offsetMs + 60_000) <= 600, String(clock.offsetMs))
})
