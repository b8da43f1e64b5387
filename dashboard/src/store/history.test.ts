import assert from 'node:assert/strict'
import { test } from 'node:test'

import { across, byMinute, History, POINTS_MAX, type Point, summed, up, within } from './history.ts'

const MINUTE = 60_000

function point(atMs: number, sequence = atMs, riskNumber: number | null = 50): Point {
  return { sequence: String(sequence), atMs, riskNumber, var95: 1000 + atMs, marketValue: 50_000 }
}

function times(history: History): number[] {
  return history.all.map(({ atMs }) => atMs)
}

test('what is followed comes after what was preloaded, whichever came first', () => {
  const history = new History()
  history.add(point(3 * MINUTE))
  history.preload([point(MINUTE), point(2 * MINUTE)])
  history.add(point(4 * MINUTE))
  assert.deepEqual(times(history), [MINUTE, 2 * MINUTE, 3 * MINUTE, 4 * MINUTE])
})

test('a point met twice is drawn once, with what the larger sequence says', () => {
  const history = new History()
  history.add(point(MINUTE, 9, 60))
  history.preload([point(MINUTE, 8, 40)])
  history.add(point(MINUTE, 9, 60))
  assert.deepEqual(
    history.all.map(({ riskNumber }) => riskNumber),
    [60],
  )
  history.preload([point(MINUTE, 10, 70)])
  assert.deepEqual(
    history.all.map(({ riskNumber }) => riskNumber),
    [70],
  )
})

test('a point older than the newest does not take the line back', () => {
  const history = new History()
  history.add(point(2 * MINUTE))
  history.add(point(MINUTE, 1))
  assert.deepEqual(times(history), [2 * MINUTE])
})

test('within a second only the newest point stays', () => {
  const history = new History()
  for (const atMs of [1000, 1250, 1500, 1999, 2000]) history.add(point(atMs))
  assert.deepEqual(times(history), [1999, 2000])
})

test('a day of live points stays bounded, its newest ten minutes to the second and the rest to the minute', () => {
  const history = new History()
  const seconds = 24 * 3600
  for (let second = 1; second <= seconds; second += 1) history.add(point(second * 1000))
  assert.ok(history.all.length <= POINTS_MAX, `${history.all.length} points`)
  const gaps = times(history).map((atMs, index, all) => atMs - (all[index - 1] ?? atMs))
  assert.ok(gaps.slice(-600).every((gap) => gap === 1000))
  assert.equal(Math.max(...gaps), MINUTE)
  assert.equal(history.all.at(-1)?.atMs, seconds * 1000)
})

test('a list once handed out does not grow behind a reader who paused', () => {
  const history = new History()
  history.add(point(1000))
  const held = history.all
  history.add(point(5000))
  assert.equal(held.length, 1)
})

test('the last point stands for its minute', () => {
  const points = [0, 10_000, 59_000, 60_000, 61_000].map((atMs) => point(atMs))
  assert.deepEqual(
    byMinute(points).map(({ atMs }) => atMs),
    [59_000, 61_000],
  )
})

test('a span keeps what is not older than it, counted from the newest', () => {
  const points = [0, 5 * MINUTE, 20 * MINUTE].map((atMs) => point(atMs))
  assert.deepEqual(
    within(points, 15 * MINUTE).map(({ atMs }) => atMs),
    [5 * MINUTE, 20 * MINUTE],
  )
  assert.equal(within(points, 0).length, 3)
  assert.equal(within([], 15 * MINUTE).length, 0)
})

test('one point alone is drawn over two minutes, not over years', () => {
  assert.deepEqual(across([point(10 * MINUTE)]), [8 * MINUTE, 10 * MINUTE])
  assert.deepEqual(across([point(MINUTE), point(10 * MINUTE)]), [MINUTE, 10 * MINUTE])
})

test('a value that does not move still has air above and below', () => {
  const [low, high] = up([50_000, 50_000], 'marketValue')
  assert.ok(low < 50_000 && high > 50_000)
  assert.deepEqual(up([0, 0], 'var95'), [-1, 1])
  assert.deepEqual(up([null], 'var95'), [0, 1])
})

test('a risk number is drawn on its own scale, not beyond it', () => {
  assert.deepEqual(up([98, 99], 'riskNumber'), [95, 100])
  assert.deepEqual(up([1, 2], 'riskNumber'), [0, 5])
})

test('a line is told by where it came from, where it is and how far it went', () => {
  assert.deepEqual(summed([null, 40, 70, null, 55]), { from: 40, to: 55, low: 40, high: 70 })
  assert.equal(summed([null]), null)
})
