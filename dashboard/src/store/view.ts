// Which rows are shown, and in which order. The order follows the numbers, except while somebody points at the table or
// moves in it: a row must not slip away from under a pointer. Then it is held, values go on changing, and new rows wait.
import { type Book, change, type Row } from './book.ts'

export const SORT_KEYS = [
  'id',
  'advisorId',
  'riskNumber',
  'change',
  'gap',
  'var95',
  'var95Fraction',
  'es975',
  'sharpe',
  'beta',
  'dayPnl',
  'marketValue',
  'calculatedMs',
] as const
export type SortKey = (typeof SORT_KEYS)[number]

export interface Sort {
  key: SortKey
  descending: boolean
}

export interface Filter {
  /** Risk numbers below this are left out; 1 leaves out none, not even portfolios without a number. */
  min: number
  /** One advisor's portfolios; empty for everyone's. */
  advisorId: string
  /** Part of a portfolio's, advisor's or client's id, whatever its case. */
  text: string
}

export const EVERYTHING: Filter = { min: 1, advisorId: '', text: '' }
export const RISKIEST_FIRST: Sort = { key: 'riskNumber', descending: true }

/** The rows that pass, sorted. What has no value stands last in both directions; ties are broken by VaR, then by id. */
export function arranged(rows: Iterable<Row>, filter: Filter, sort: Sort): Row[] {
  const passes = passing(filter)
  const shown: Row[] = []
  for (const row of rows) if (passes(row)) shown.push(row)
  return shown.sort(ordering(sort))
}

export function passing(filter: Filter): (row: Row) => boolean {
  const { min, advisorId } = filter
  const text = filter.text.trim().toLowerCase()
  return (row) =>
    (min <= 1 || (row.riskNumber ?? 0) >= min) &&
    (!advisorId || row.advisorId === advisorId) &&
    (!text ||
      row.id.toLowerCase().includes(text) ||
      row.advisorId.toLowerCase().includes(text) ||
      (row.clientId?.toLowerCase().includes(text) ?? false))
}

/** Two sorted lists as one. */
function merged(one: readonly Row[], other: readonly Row[], inOrder: (a: Row, b: Row) => number): Row[] {
  const all: Row[] = []
  let next = 0
  for (const row of one) {
    for (let from = other[next]; from && inOrder(from, row) < 0; from = other[next]) {
      all.push(from)
      next += 1
    }
    all.push(row)
  }
  return all.concat(other.slice(next))
}

function ordering(sort: Sort): (a: Row, b: Row) => number {
  const value = sort.key === 'change' ? change : (row: Row) => row[sort.key as Exclude<SortKey, 'change'>]
  const direction = sort.descending ? -1 : 1
  return (a, b) => {
    const x = value(a)
    const y = value(b)
    if (x !== y) {
      if (x == null) return 1
      if (y == null) return -1
      return x < y ? -direction : direction
    }
    if (a.var95 !== b.var95) return b.var95 - a.var95
    return a.id < b.id ? -1 : 1
  }
}

export class View {
  rows: Row[] = []
  filter: Filter = EVERYTHING
  sort: Sort = RISKIEST_FIRST
  /** Whether the order is held now. */
  held = false
  private version = -1
  /** The rows as they were when the page was told to stand still; null while it moves. */
  private still: ReadonlyMap<string, Row> | null = null
  private readonly book: Book

  constructor(book: Book) {
    this.book = book
  }

  /** Every portfolio there is to show, shown or not. */
  get known(): ReadonlyMap<string, Row> {
    return this.still ?? this.book.rows
  }

  /** Stand still: the rows of now, whatever becomes of those in the book. They can be sorted and filtered all the same. */
  freeze(): void {
    this.refresh()
    this.still = new Map([...this.book.rows].map(([id, row]) => [id, { ...row }]))
    this.rows = this.standing()
  }

  /** Move again, from where the book is now. */
  thaw(): void {
    this.still = null
    this.rows = this.standing()
    this.version = -1
    this.refresh()
  }

  /** Show something else, at once: whoever asks for another order is not to wait for it. */
  choose(filter: Filter, sort: Sort): void {
    this.filter = filter
    this.sort = sort
    this.arrange()
  }

  /** Catch up with the book. Returns whether anything may look otherwise. */
  refresh(): boolean {
    if (this.version === this.book.version) return false
    if (this.held) {
      this.version = this.book.version
      this.rows = this.standing()
      return true
    }
    this.catchUp()
    return true
  }

  /** Hold the order, or let it go and catch up. */
  hold(held: boolean): void {
    if (held === this.held) return
    this.held = held
    if (!held) this.arrange()
  }

  /** Put the rows that changed in their places among those that did not: sorting all of them anew takes eight times as long. */
  private catchUp(): void {
    const since = this.version
    this.version = this.book.version
    const passes = passing(this.filter)
    const inOrder = ordering(this.sort)
    const stayed = this.rows.filter((row) => row.version <= since && this.known.get(row.id) === row)
    const changed: Row[] = []
    for (const row of this.known.values()) if (row.version > since && passes(row)) changed.push(row)
    this.rows = merged(stayed, changed.sort(inOrder), inOrder)
  }

  private arrange(): void {
    this.version = this.book.version
    this.rows = arranged(this.known.values(), this.filter, this.sort)
  }

  /** The rows that are shown, in their order, without those that are gone. */
  private standing(): Row[] {
    return this.rows.flatMap((row) => this.known.get(row.id) ?? [])
  }
}

/** How many portfolios stand at each ten of the risk number: 1–9, 10–19 and so on to 90–99; those without one apart. */
export function distribution(rows: Iterable<Row>): { tens: number[]; without: number } {
  const tens = new Array<number>(10).fill(0)
  let without = 0
  for (const row of rows) {
    if (row.riskNumber == null) without += 1
    else {
      const ten = Math.min(9, Math.floor(row.riskNumber / 10))
      tens[ten] = (tens[ten] ?? 0) + 1
    }
  }
  return { tens, without }
}
