// Holdings beside what they bring to the portfolio's risk, as rows of one table, and how such rows are ordered.

/** Where a row is sorted by: a number or a text, or nothing, which comes last whichever way. */
type Sortable = string | number | null | undefined

export interface Order<Key> {
  key: Key
  descending: boolean
}

/** Rows in order of what `of` says of each; rows that are equal keep the order they came in. */
export function ordered<Row>(rows: readonly Row[], of: (row: Row) => Sortable, descending: boolean): Row[] {
  return [...rows].sort((one, other) => {
    const [a, b] = [of(one) ?? null, of(other) ?? null]
    if (a === null || b === null) return Number(a === null) - Number(b === null)
    const compared = typeof a === 'string' ? a.localeCompare(String(b)) : a - Number(b)
    return descending ? -compared : compared
  })
}

/** The next order when a head is chosen: turned round where it is chosen already, else the larger first; texts from A. */
export function reordered<Key>(now: Order<Key>, key: Key, isText: boolean): Order<Key> {
  return now.key === key ? { key, descending: !now.descending } : { key, descending: !isText }
}

interface Held {
  symbol: string
}

/** Each holding with its contribution, where there is one. */
export function joined<Holding extends Held, Part extends Held>(
  holdings: readonly Holding[],
  parts: readonly Part[],
): (Holding & { part: Part | null })[] {
  const bySymbol = new Map(parts.map((part) => [part.symbol, part]))
  return holdings.map((holding) => ({ ...holding, part: bySymbol.get(holding.symbol) ?? null }))
}

/** The sum of what is known; null where nothing is. */
export function total(values: Iterable<number | null | undefined>): number | null {
  let sum: number | null = null
  for (const value of values) if (value != null) sum = (sum ?? 0) + value
  return sum
}

/** A part of a whole; null where either is missing or the whole is nothing. */
export function share(part: number | null | undefined, whole: number | null | undefined): number | null {
  return part == null || !whole ? null : part / whole
}
