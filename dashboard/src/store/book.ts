// Every portfolio that the page knows, at its newest. Rows come in pages and in batches, in any order and repeatedly;
// the larger sequence of a portfolio wins, so neither a late page nor a repeated batch can take a row back in time. Only
// within one reading of the list, though: what it meets first is the present whatever was known before, for a server that
// was set up anew counts from the beginning.
import type { AlignmentVerdict, RiskBand, RowFragment } from '../api/operations.ts'

/** One portfolio as the table shows it. Kept and written to: 10,000 of them change thousands of times a second. */
export interface Row {
  readonly id: string
  advisorId: string
  clientId: string | null
  sequence: string
  calculatedMs: number
  marketValue: number
  riskNumber: number | null
  band: RiskBand | null
  /** The risk number when this page first saw the portfolio. */
  openedAt: number | null
  tolerance: number | null
  gap: number | null
  verdict: AlignmentVerdict | null
  var95: number
  var95Fraction: number | null
  es975: number
  sharpe: number | null
  beta: number | null
  dayPnl: number
  coverage: number
  /** How many of its symbols have no price, and are in no number. */
  incomplete: number
  /** When the risk number last moved, by the page's clock; 0 where it has not. */
  movedMs: number
  movedUp: boolean
  /** Which reading of the whole list saw it last. */
  reading: number
  /** The book's version with which it last changed. */
  version: number
}

/** Whether decimal sequence `a` is larger than `b`. They outgrow every number type; without leading zeros, length decides. */
export function isLater(a: string, b: string): boolean {
  return a.length === b.length ? a > b : a.length > b.length
}

export class Book {
  readonly rows = new Map<string, Row>()
  /** Rows that newer ones replaced, since the page was opened. */
  updates = 0
  /** Grows with every change, so that a view knows whether it is out of date. */
  version = 0
  private reading = 0
  private readingNow = false
  /** Closed while a reading runs: a page that was on its way then still holds them. Empty in between. */
  private readonly closed = new Set<string>()
  private readonly now: () => number

  /** `now` gives milliseconds; any clock that does not go back. */
  constructor(now: () => number) {
    this.now = now
  }

  /** Rows of a batch: what changed. Returns when the one that waited longest was calculated; null of an empty batch. */
  putBatch(found: Iterable<RowFragment>): number | null {
    let oldest: number | null = null
    for (const each of found) {
      this.closed.delete(each.portfolioId)
      const { calculatedMs } = this.put(each)
      if (oldest === null || calculatedMs < oldest) oldest = calculatedMs
    }
    return oldest
  }

  /** Rows of a page: what was, when it was read. */
  putPage(found: Iterable<RowFragment>): void {
    for (const each of found) if (!this.closed.has(each.portfolioId)) this.put(each)
  }

  /** Portfolios that are closed, or are not the viewer's any more. */
  remove(ids: Iterable<string>): void {
    for (const id of ids) {
      if (this.readingNow) this.closed.add(id)
      if (this.rows.delete(id)) this.version += 1
    }
  }

  /** Know nothing any more: somebody else looks on. */
  clear(): void {
    this.rows.clear()
    this.closed.clear()
    this.readingNow = false
    this.version += 1
  }

  /** A reading of the whole list begins: what neither it nor a batch meets until `endReading` is gone. */
  beginReading(): void {
    this.reading += 1
    this.readingNow = true
    this.closed.clear()
  }

  endReading(): void {
    this.readingNow = false
    this.closed.clear()
    const gone = [...this.rows.values()].filter((row) => row.reading !== this.reading)
    this.remove(gone.map((row) => row.id))
  }

  private put(found: RowFragment): Row {
    const known = this.rows.get(found.portfolioId)
    if (!known) {
      const opened = this.opened(found)
      this.rows.set(found.portfolioId, opened)
      this.version += 1
      opened.version = this.version
      return opened
    }
    const met = known.reading === this.reading
    known.reading = this.reading
    if (met ? !isLater(found.sequence, known.sequence) : found.sequence === known.sequence) return known
    const before = known.riskNumber
    assign(known, found)
    if (before !== known.riskNumber) {
      known.movedMs = this.now()
      known.movedUp = (known.riskNumber ?? 0) > (before ?? 0)
    }
    this.updates += 1
    this.version += 1
    known.version = this.version
    return known
  }

  private opened(found: RowFragment): Row {
    const row = {
      id: found.portfolioId,
      openedAt: found.riskNumber,
      movedMs: 0,
      movedUp: false,
      reading: this.reading,
    } as Row
    assign(row, found)
    return row
  }
}

/** How far the risk number is from where it was when the page was opened; null where it has, or had, none. */
export function change(row: Row): number | null {
  return row.riskNumber == null || row.openedAt == null ? null : row.riskNumber - row.openedAt
}

function assign(row: Row, found: RowFragment): void {
  row.advisorId = found.advisorId
  row.clientId = found.clientId
  row.sequence = found.sequence
  row.calculatedMs = Date.parse(found.calculatedAt)
  row.marketValue = found.marketValue
  row.riskNumber = found.riskNumber
  row.band = found.riskBand
  row.tolerance = found.alignment?.toleranceNumber ?? null
  row.gap = found.alignment?.gap ?? null
  row.verdict = found.alignment?.verdict ?? null
  row.var95 = found.var95
  row.var95Fraction = found.var95Fraction
  row.es975 = found.es975
  row.sharpe = found.sharpeRatio
  row.beta = found.beta
  row.dayPnl = found.dayPnl
  row.coverage = found.coverage
  row.incomplete = found.incompleteSymbols.length
}
