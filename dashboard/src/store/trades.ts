// Trades as somebody types them, a line each: read into what can be asked and sent, and what is wrong with the rest, by
// field and with the reason. The server has the last word; what it is sure to refuse is told here, while one types.

/** One line of the form, as typed. `key` tells it from the others, wherever it stands. */
export interface Line {
  readonly key: number
  symbol: string
  quantity: string
}

/** A signed change of quantity: below zero sells. */
export interface Trade {
  symbol: string
  quantity: number
}

export type Field = 'symbol' | 'quantity'

/** Why a line is no trade. */
export interface Fault {
  key: number
  field: Field
  reason: string
}

export interface Read {
  /** Those of one symbol added up, in the order in which they were typed; what adds up to nothing is left out. */
  trades: Trade[]
  faults: Fault[]
}

/** What the server takes: `plimsoll.refusals` and `plimsoll.messages`, which a test holds these to. */
export const SYMBOL = /^[A-Za-z0-9_.:-]{1,64}$/
export const QUANTITY_MAX = 1e12

const NUMBER = /^[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)?(?:\.\d+)?$/

/** Read the lines; those that are empty say nothing. A symbol is spelt as in `known` where that is all that differs. */
export function readLines(lines: readonly Line[], known: readonly string[]): Read {
  const summed = new Map<string, number>()
  const faults: Fault[] = []
  for (const line of lines) {
    if (isEmpty(line)) continue
    const symbol = readSymbol(line.symbol, known)
    const quantity = readQuantity(line.quantity)
    if (typeof symbol !== 'string') faults.push({ key: line.key, field: 'symbol', reason: symbol.reason })
    if (typeof quantity !== 'number') faults.push({ key: line.key, field: 'quantity', reason: quantity.reason })
    if (typeof symbol === 'string' && typeof quantity === 'number') {
      summed.set(symbol, (summed.get(symbol) ?? 0) + quantity)
    }
  }
  const trades = [...summed].map(([symbol, quantity]) => ({ symbol, quantity }))
  return { trades: trades.filter(({ quantity }) => quantity !== 0), faults }
}

export function isEmpty(line: Line): boolean {
  return !line.symbol.trim() && !line.quantity.trim()
}

/** The symbol that is meant, or why there is none. */
export function readSymbol(typed: string, known: readonly string[]): string | { reason: string } {
  const symbol = typed.trim()
  if (!symbol) return { reason: 'The symbol is missing: say what to trade.' }
  if (!SYMBOL.test(symbol)) {
    return { reason: `“${symbol.slice(0, 80)}” is no symbol: 1 to 64 letters, digits and . _ : - are, like AAPL.` }
  }
  if (known.includes(symbol)) return symbol
  const alike = known.filter((each) => each.toLowerCase() === symbol.toLowerCase())
  return alike.length === 1 ? (alike[0] as string) : symbol
}

/** The change that is meant, or why there is none: `-50`, `+1,000` and `0.5` are, with whichever minus. */
export function readQuantity(typed: string): number | { reason: string } {
  const text = typed.trim().replace('−', '-')
  if (!text) return { reason: 'The quantity is missing: say how much to buy, or with a minus how much to sell.' }
  if (!NUMBER.test(text) || !/\d/.test(text)) {
    return { reason: `“${typed.trim().slice(0, 80)}” is no quantity: write it like 500, −500 or 0.5.` }
  }
  const quantity = Number(text.replaceAll(',', ''))
  if (quantity === 0) return { reason: 'A quantity of 0 changes nothing: say how much, or remove the line.' }
  if (Math.abs(quantity) > QUANTITY_MAX) return { reason: 'The quantity is above 1,000,000,000,000: say less.' }
  return quantity
}

/** What closes a position, as it would be typed: all of it, or half; half of whole units is whole units. */
export function closing(held: number, part: 'half' | 'all'): string {
  const units = part === 'all' ? held : halfOf(held)
  return typedAs(-units)
}

function halfOf(held: number): number {
  return Number.isInteger(held) && Math.abs(held) > 1 ? Math.trunc(held / 2) : held / 2
}

function typedAs(quantity: number): string {
  // Never 1e-7, which nobody types; and never -0.
  return (quantity || 0).toLocaleString('en-US', { useGrouping: false, maximumFractionDigits: 20 })
}
