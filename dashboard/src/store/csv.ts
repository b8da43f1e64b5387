// The rows that are shown, as a file for a spreadsheet (RFC 4180): numbers in full, not as they are abbreviated on screen.
import { change, type Row } from './book.ts'

const COLUMNS: readonly (readonly [string, (row: Row) => string | number | null])[] = [
  ['portfolio_id', (row) => row.id],
  ['advisor_id', (row) => row.advisorId],
  ['client_id', (row) => row.clientId],
  ['risk_number', (row) => row.riskNumber],
  ['change_since_opened', change],
  ['tolerance_number', (row) => row.tolerance],
  ['alignment_gap', (row) => row.gap],
  ['alignment', (row) => row.verdict],
  ['var_95', (row) => row.var95],
  ['var_95_fraction', (row) => row.var95Fraction],
  ['es_975', (row) => row.es975],
  ['sharpe_ratio', (row) => row.sharpe],
  ['beta', (row) => row.beta],
  ['day_pnl', (row) => row.dayPnl],
  ['market_value', (row) => row.marketValue],
  ['coverage', (row) => row.coverage],
  ['symbols_without_price', (row) => row.incomplete],
  ['calculated_at', (row) => new Date(row.calculatedMs).toISOString()],
  ['sequence', (row) => row.sequence],
]

/** One line a row, with a head, in the order given. */
export function csv(rows: readonly Row[]): string {
  const head = COLUMNS.map(([name]) => name).join(',')
  const lines = rows.map((row) => COLUMNS.map(([, value]) => cell(value(row))).join(','))
  return `${[head, ...lines].join('\r\n')}\r\n`
}

function cell(value: string | number | null): string {
  if (value == null) return ''
  if (typeof value === 'number') return String(value)
  // A spreadsheet would carry out what begins like this, and an id is whatever its sender chose.
  const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
