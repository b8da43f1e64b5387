// A portfolio before and after trades, measure by measure, in words and numbers. Less risk is better and a better ratio
// is better; a value, an exposure or a gain is neither: selling everything brings all of them down.
import type { WhatIfSideFragment } from '../../api/operations.ts'
import {
  count,
  decimal,
  money,
  NONE,
  percent,
  signedCount,
  signedDecimal,
  signedMoney,
  signedPercent,
} from '../../format.ts'

type Side = WhatIfSideFragment
type Write = (value: number | null) => string

interface Measure {
  name: string
  /** Said where the pointer rests. */
  about: string
  of(side: Side): number | null
  write: Write
  writeChange: Write
  /** How much risk or merit a value is; absent where more of it is neither better nor worse. */
  risk?(value: number): number
  merit?(value: number): number
}

/** One line of the comparison. `verdict` is null where nothing changed, or where a change is neither. */
export interface Compared {
  name: string
  about: string
  before: string
  after: string
  change: string
  arrow: '▲' | '▼' | ''
  verdict: 'better' | 'worse' | null
  words: string
}

const asIs = (value: number): number => value
const MONEY = { write: money, writeChange: signedMoney }
const PERCENT: Pick<Measure, 'write' | 'writeChange'> = {
  write: (value) => percent(value),
  writeChange: (value) => signedPercent(value),
}
const RATIO: Pick<Measure, 'write' | 'writeChange'> = {
  write: (value) => decimal(value),
  writeChange: (value) => signedDecimal(value),
}

const MEASURES: readonly Measure[] = [
  {
    name: 'Risk number',
    about: '1 to 99: how much could be lost over six months, 19 times of 20',
    of: (side) => side.riskNumber,
    write: count,
    writeChange: signedCount,
    risk: asIs,
  },
  { name: 'VaR 95%', about: 'Loss that 19 of 20 days stay below', of: (side) => side.var95, ...MONEY, risk: asIs },
  {
    name: 'VaR 95%, of value',
    about: 'The same, of the portfolio’s value',
    of: (side) => side.var95Fraction,
    ...PERCENT,
    risk: asIs,
  },
  { name: 'VaR 99%', about: 'Loss that 99 of 100 days stay below', of: (side) => side.var99, ...MONEY, risk: asIs },
  {
    name: 'ES 97.5%',
    about: 'Expected shortfall: the average loss on the worst 2.5% of days',
    of: (side) => side.es975,
    ...MONEY,
    risk: asIs,
  },
  { name: 'Volatility', about: 'Of a year', of: (side) => side.volatility, ...PERCENT, risk: asIs },
  {
    name: 'Sharpe',
    about: 'Return above the risk-free rate for each unit of volatility',
    of: (side) => side.sharpeRatio,
    ...RATIO,
    merit: asIs,
  },
  {
    name: 'Beta',
    about: 'Against the S&P 500; nearer to 0 is less of the market’s risk',
    of: (side) => side.beta,
    ...RATIO,
    risk: Math.abs,
  },
  { name: 'Gross exposure', about: 'Long and short added up', of: (side) => side.grossExposure, ...MONEY },
  { name: 'Net exposure', about: 'Long less short', of: (side) => side.netExposure, ...MONEY },
  { name: 'Cash', about: 'Stays as it is: trades are not paid from it', of: (side) => side.cash, ...MONEY },
  { name: 'Value', about: 'Market value with cash', of: (side) => side.marketValue, ...MONEY },
  {
    name: 'Day P&L',
    about: 'Since the previous session’s close; after trades, as if they had been made before it',
    of: (side) => side.dayPnl,
    ...MONEY,
  },
]

/** Every measure of both sides, in the order in which they are shown. */
export function compared(before: Side, after: Side): Compared[] {
  return MEASURES.map((measure) => {
    const [was, is] = [measure.of(before), measure.of(after)]
    const shown = {
      name: measure.name,
      about: measure.about,
      before: measure.write(was),
      after: measure.write(is),
    }
    if (was == null || is == null) return { ...shown, change: NONE, arrow: '', verdict: null, words: 'not defined' }
    const change = measure.writeChange(is - was)
    // What is written as zero is no change: an arrow beside it would claim one.
    if (!/^[+−]/.test(change)) return { ...shown, change, arrow: '', verdict: null, words: 'no change' }
    return { ...shown, change, arrow: is > was ? '▲' : '▼', ...judged(measure, was, is) }
  })
}

function judged(measure: Measure, was: number, is: number): Pick<Compared, 'verdict' | 'words'> {
  if (measure.risk) {
    const more = measure.risk(is) - measure.risk(was)
    if (more === 0) return { verdict: null, words: 'as much risk' }
    return more < 0 ? { verdict: 'better', words: 'less risk' } : { verdict: 'worse', words: 'more risk' }
  }
  if (measure.merit) {
    return measure.merit(is) > measure.merit(was)
      ? { verdict: 'better', words: 'better' }
      : { verdict: 'worse', words: 'worse' }
  }
  return { verdict: null, words: is > was ? 'more' : 'less' }
}
