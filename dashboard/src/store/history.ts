// A portfolio's past, as a line needs it: the server's points, one a minute, and after them whatever is followed live.
// Bounded: live points keep a second each for ten minutes, then a minute each, and what is more than `POINTS_MAX` gives
// way at its old end.
import { isLater } from './book.ts'

export interface Point {
  readonly sequence: string
  readonly atMs: number
  readonly riskNumber: number | null
  readonly var95: number
  readonly marketValue: number
}

/** What can be drawn of a point. */
export type Drawn = 'riskNumber' | 'var95' | 'marketValue'

/** A range of an axis, from its low to its high end. */
export type Range = readonly [number, number]

export const POINTS_MAX = 2400
const SECOND_MS = 1000
const MINUTE_MS = 60_000
const FINE_MS = 10 * MINUTE_MS
/** The least that an axis of time covers. What is drawn of one point alone would otherwise span years. */
const ACROSS_MIN_MS = 2 * MINUTE_MS

export class History {
  private points: Point[] = []

  /** In order of time. A list of its own, that nothing changes later. */
  get all(): readonly Point[] {
    return [...this.points]
  }

  /** Points that the server kept: before, between or after those that are known. */
  preload(found: Iterable<Point>): void {
    const known = new Map(this.points.map((point) => [point.atMs, point]))
    for (const point of found) {
      const same = known.get(point.atMs)
      if (!same || isLater(point.sequence, same.sequence)) known.set(point.atMs, point)
    }
    this.points = [...known.values()].sort((one, other) => one.atMs - other.atMs)
    this.bound()
  }

  /** The newest. One that is older than what is known says nothing new and is dropped. */
  add(point: Point): void {
    const last = this.points.at(-1)
    if (last && (point.atMs < last.atMs || !isLater(point.sequence, last.sequence))) return
    if (last && slot(last.atMs, SECOND_MS) === slot(point.atMs, SECOND_MS)) this.points.pop()
    this.points.push(point)
    if (this.points.length > POINTS_MAX) this.bound()
  }

  private bound(): void {
    if (this.points.length > POINTS_MAX) this.points = byMinute(this.points, FINE_MS).slice(-POINTS_MAX)
  }
}

/** The last point of each minute; the newest `fineMs` as fine as they are. */
export function byMinute(points: readonly Point[], fineMs = 0): Point[] {
  const fineFrom = (points.at(-1)?.atMs ?? 0) - fineMs
  return points.filter((point, index) => {
    const next = points[index + 1]
    return !next || (fineMs > 0 && point.atMs >= fineFrom) || slot(point.atMs, MINUTE_MS) !== slot(next.atMs, MINUTE_MS)
  })
}

/** Those not older than `spanMs` before the newest; all of them where it is 0. */
export function within(points: readonly Point[], spanMs: number): readonly Point[] {
  const newest = points.at(-1)
  if (!newest || spanMs === 0) return points
  return points.filter((point) => point.atMs >= newest.atMs - spanMs)
}

/** What the axis of time covers, milliseconds: the points, and two minutes at least. */
export function across(points: readonly Point[]): Range {
  const newest = points.at(-1)?.atMs ?? 0
  const oldest = points[0]?.atMs ?? newest
  return [Math.min(oldest, newest - ACROSS_MIN_MS), newest]
}

/** What the other axis covers: the values with air around them, never nothing. A risk number stays on its scale. */
export function up(values: readonly (number | null)[], drawn: Drawn): Range {
  const there = values.filter((value): value is number => value !== null)
  if (!there.length) return [0, 1]
  const [low, high] = [least(there), most(there)]
  if (drawn === 'riskNumber') return [Math.max(0, Math.floor(low - 3)), Math.min(100, Math.ceil(high + 3))]
  // Without the second term a value that hardly moves would look like a storm.
  const air = Math.max((high - low) * 0.1, Math.max(Math.abs(low), Math.abs(high)) * 0.002, 1)
  return [low - air, high + air]
}

/** What a line did, for whoever does not see it: from, to, and between which values. Null where no value is known. */
export function summed(
  values: readonly (number | null)[],
): { from: number; to: number; low: number; high: number } | null {
  const there = values.filter((value): value is number => value !== null)
  const [from, to] = [there[0], there.at(-1)]
  return from === undefined || to === undefined ? null : { from, to, low: least(there), high: most(there) }
}

function slot(atMs: number, wideMs: number): number {
  return Math.floor(atMs / wideMs)
}

function least(values: readonly number[]): number {
  return values.reduce((one, other) => Math.min(one, other))
}

function most(values: readonly number[]): number {
  return values.reduce((one, other) => Math.max(one, other))
}
