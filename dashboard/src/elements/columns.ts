// The columns of the table: what they are called, what they say of a row, and what explains them.
import {
  briefMoney,
  briefSignedMoney,
  count,
  decimal,
  fittedMoney,
  fittedSignedMoney,
  percent,
  time,
} from '../format.ts'
import { change, type Row } from '../store/book.ts'
import type { SortKey } from '../store/view.ts'
import { direction } from './parts.ts'

export interface Column {
  key: SortKey
  label: string
  /** Shown where the label alone does not explain itself. */
  title: string
  numeric: boolean
  text(row: Row): string
  /** The same in a table as narrow as a phone, where `text` would be cut short. */
  brief?(row: Row): string
  /** A word before the text that is never cut short; empty where there is nothing to say. */
  mark?(row: Row): string
  /** A class for the cell: colour, never meaning alone. */
  kind?(row: Row): string
}

const VERDICT = { ALIGNED: 'aligned', TOO_RISKY: 'too risky', TOO_CAUTIOUS: 'too cautious' } as const

export const COLUMNS: readonly Column[] = [
  {
    key: 'id',
    label: 'Portfolio',
    title: 'Enter, or a click, opens its details',
    numeric: false,
    text: (row) => row.id,
    mark: (row) => (row.incomplete ? 'partial' : row.coverage < 1 ? 'proxied' : ''),
  },
  {
    key: 'advisorId',
    label: 'Advisor',
    title: 'Enter, or a click, shows this advisor’s portfolios alone',
    numeric: false,
    text: (row) => row.advisorId,
  },
  {
    key: 'riskNumber',
    label: 'Risk',
    title: 'Risk number, 1 to 99: how much could be lost over six months, 19 times of 20',
    numeric: true,
    text: (row) => count(row.riskNumber),
    kind: (row) => (row.band ? `risk-${row.band.toLowerCase()}` : ''),
  },
  {
    key: 'change',
    label: 'Change',
    title: 'Of the risk number, since this page was opened',
    numeric: true,
    text: (row) => moved(change(row)),
    kind: (row) => ((change(row) ?? 0) > 0 ? 'riskier' : (change(row) ?? 0) < 0 ? 'safer' : ''),
  },
  {
    key: 'gap',
    label: 'Alignment',
    title: 'Points above (+) or below (−) what the client’s tolerance allows',
    numeric: true,
    text: (row) => (row.gap == null || !row.verdict ? '–' : `${VERDICT[row.verdict]} ${pointsOf(row.gap)}`),
    kind: (row) => (row.verdict ? `verdict-${row.verdict.toLowerCase()}` : ''),
  },
  {
    key: 'var95',
    label: 'VaR 95%',
    title: 'Loss that 19 of 20 days stay below',
    numeric: true,
    text: (row) => fittedMoney(row.var95),
    brief: (row) => briefMoney(row.var95),
  },
  {
    key: 'var95Fraction',
    label: 'VaR %',
    title: 'The same, of the portfolio’s value',
    numeric: true,
    text: (row) => percent(row.var95Fraction),
  },
  {
    key: 'es975',
    label: 'ES 97.5%',
    title: 'Expected shortfall: the average loss on the worst 2.5% of days',
    numeric: true,
    text: (row) => fittedMoney(row.es975),
  },
  {
    key: 'sharpe',
    label: 'Sharpe',
    title: 'Return above the risk-free rate for each unit of volatility',
    numeric: true,
    text: (row) => decimal(row.sharpe),
  },
  { key: 'beta', label: 'Beta', title: 'Against the S&P 500', numeric: true, text: (row) => decimal(row.beta) },
  {
    key: 'dayPnl',
    label: 'Day P&L',
    title: 'Gain or loss since the previous session’s close',
    numeric: true,
    text: (row) => fittedSignedMoney(row.dayPnl),
    brief: (row) => briefSignedMoney(row.dayPnl),
    kind: (row) => direction(Math.round(row.dayPnl)),
  },
  {
    key: 'marketValue',
    label: 'Value',
    title: 'Market value with cash',
    numeric: true,
    text: (row) => fittedMoney(row.marketValue),
  },
  {
    key: 'calculatedMs',
    label: 'Updated',
    title: 'When it was last calculated, by your clock',
    numeric: true,
    text: (row) => time(row.calculatedMs),
  },
]

function moved(points: number | null): string {
  if (points == null) return '–'
  if (points === 0) return '0'
  return points > 0 ? `▲ +${points}` : `▼ −${-points}`
}

function pointsOf(gap: number): string {
  return gap > 0 ? `+${gap}` : gap < 0 ? `−${-gap}` : '0'
}
