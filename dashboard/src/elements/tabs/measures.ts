// All that is measured of a portfolio, in the groups that a reader looks for them in, each explained in a line.
import type { MeasuresFragment } from '../../api/operations.ts'
import { count, decimal, duration, money, percent, signedMoney, time } from '../../format.ts'

type Risk = MeasuresFragment

export interface Measure {
  name: string
  about: string
  text(risk: Risk): string
  /** A second value, where a number is told in two ways. */
  beside?(risk: Risk): string
  /** Too long for a half of the width. */
  wide?: true
}

export interface Group {
  title: string
  measures: readonly Measure[]
}

export const GROUPS: readonly Group[] = [
  {
    title: 'Loss in a day',
    measures: [
      {
        name: 'VaR 95%',
        about: 'Loss that 19 of 20 days stay below',
        text: (risk) => money(risk.var95),
        beside: (risk) => percent(risk.var95Fraction),
      },
      {
        name: 'VaR 99%',
        about: 'Loss that 99 of 100 days stay below',
        text: (risk) => money(risk.var99),
        beside: (risk) => percent(risk.var99Fraction),
      },
      {
        name: 'ES 97.5%',
        about: 'Expected shortfall: mean loss of the worst 2.5% of days',
        text: (risk) => money(risk.es975),
        beside: (risk) => percent(risk.es975Fraction),
      },
      { name: 'Day P&L', about: 'Since the last close', text: (risk) => signedMoney(Math.round(risk.dayPnl)) },
    ],
  },
  {
    title: 'Return for risk',
    measures: [
      { name: 'Volatility', about: 'Standard deviation of returns, a year', text: (risk) => percent(risk.volatility) },
      { name: 'Expected return', about: 'Mean of the scenarios, a year', text: (risk) => percent(risk.expectedReturn) },
      {
        name: 'Sharpe ratio',
        about: 'Return above risk-free, by volatility',
        text: (risk) => decimal(risk.sharpeRatio),
      },
      { name: 'Sortino ratio', about: 'The same, by downside deviation', text: (risk) => decimal(risk.sortinoRatio) },
      { name: 'Beta', about: 'Against the S&P 500', text: (risk) => decimal(risk.beta) },
      { name: 'Tracking error', about: 'Against the S&P 500, a year', text: (risk) => percent(risk.trackingError) },
      {
        name: 'Max drawdown',
        about: 'Deepest fall from a peak in the scenarios',
        text: (risk) => percent(risk.maxDrawdown),
      },
      {
        name: 'Effective names',
        about: 'Equal positions that would be as concentrated',
        text: (risk) => decimal(risk.effectiveNames, 1),
      },
    ],
  },
  {
    title: 'Exposure',
    measures: [
      { name: 'Market value', about: 'Positions at their marks, and cash', text: (risk) => money(risk.marketValue) },
      { name: 'Cash', about: 'Negative where it is borrowed', text: (risk) => money(risk.cash) },
      { name: 'Gross', about: 'Long and short, without their signs', text: (risk) => money(risk.grossExposure) },
      { name: 'Net', about: 'Long less short', text: (risk) => money(risk.netExposure) },
      { name: 'Long', about: 'Held long', text: (risk) => money(risk.longExposure) },
      { name: 'Short', about: 'Held short', text: (risk) => money(risk.shortExposure) },
    ],
  },
  {
    title: 'Risk number',
    measures: [
      {
        name: 'Risk number',
        about: '1 calm to 99 wild, as volatile as now',
        text: (risk) => count(risk.riskNumber),
        beside: (risk) => risk.riskBand?.toLowerCase() ?? '',
      },
      {
        name: 'Structural',
        about: 'As volatile as over the long run',
        text: (risk) => count(risk.riskNumberStructural),
      },
    ],
  },
  {
    title: 'What it rests on',
    measures: [
      {
        name: 'Coverage',
        about: 'Of gross exposure, with a history of its own',
        text: (risk) => percent(risk.coverage, 1),
      },
      { name: 'Method', about: 'Of value at risk', text: (risk) => inWords(risk.method) },
      {
        name: 'Horizon',
        about: 'Of every measure of loss',
        text: (risk) => `${count(risk.horizonDays)} ${risk.horizonDays === 1 ? 'trading day' : 'trading days'}`,
      },
      { name: 'Observations', about: 'Scenarios behind the numbers', text: (risk) => count(risk.observations) },
      { name: 'Oldest price', about: 'Its age, when last calculated', text: (risk) => duration(risk.priceAgeMs) },
      { name: 'As of', about: 'Newest price or update in it', text: (risk) => time(Date.parse(risk.asOf)) },
      { name: 'Calculated', about: 'By your clock', text: (risk) => time(Date.parse(risk.calculatedAt)) },
      {
        name: 'Took',
        about: 'To value it',
        // Some tens of microseconds: rounded to milliseconds it would be nothing.
        text: (risk) => `${decimal(risk.calculationTimeMs, 3)} ms`,
      },
      { name: 'Scenario set', about: 'Last session and fingerprint', text: (risk) => risk.scenarioSetId, wide: true },
      { name: 'Sequence', about: 'The larger is the newer', text: (risk) => risk.sequence, wide: true },
    ],
  },
]

/** A method's stable name, as words. */
export function inWords(method: string): string {
  return method.replaceAll('_', ' ')
}
