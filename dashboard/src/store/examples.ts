// What the tests of the store are made of: rows as the server sends them, and chance that a seed repeats.
import type { RowFragment } from '../api/operations.ts'
import { Book, type Row } from './book.ts'

/** A row of `portfolioId` as it comes from the server; what is not said is ordinary. */
export function found(
  portfolioId: string,
  sequence: number | string = 1,
  said: Partial<RowFragment> = {},
): RowFragment {
  return {
    portfolioId,
    advisorId: 'advisor-1',
    clientId: null,
    sequence: String(sequence),
    calculatedAt: '2020-03-16T20:00:00.000000+00:00',
    marketValue: 1000,
    riskNumber: 50,
    riskBand: 'MODERATE',
    alignment: { toleranceNumber: 50, gap: 0, verdict: 'ALIGNED' },
    var95: 20,
    var95Fraction: 0.02,
    es975: 30,
    sharpeRatio: 0.5,
    beta: 1,
    dayPnl: -3,
    coverage: 1,
    incompleteSymbols: [],
    ...said,
  }
}

/** Rows as the book keeps them. */
export function rows(...each: RowFragment[]): Row[] {
  const book = new Book(() => 0)
  book.putBatch(each)
  return [...book.rows.values()]
}

/** Whole numbers below `below`, the same for the same seed. */
export function drawn(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    // The upper bits: the lower ones of such a sequence repeat soon.
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** The same things in another order. */
export function shuffled<Each>(things: readonly Each[], draw: (below: number) => number): Each[] {
  return things
    .map((thing) => ({ thing, place: draw(1_000_000) }))
    .sort((a, b) => a.place - b.place)
    .map(({ thing }) => thing)
}
