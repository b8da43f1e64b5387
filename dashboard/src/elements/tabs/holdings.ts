// What the portfolio holds, and how much of its risk each holding brings. Components add up to the whole and may be
// negative: a hedge takes risk away. What a holding would save by being sold (incremental) adds up to nothing.
import { html, nothing, type TemplateResult } from 'lit'

import { HoldingsDocument, type HoldingsQuery } from '../../api/operations.ts'
import { decimal, duration, money, percent, quantity as quantityOf, signedMoney } from '../../format.ts'
import { joined, type Order, share, total } from '../../store/holdings.ts'
import { BAR_LENGTH, bars } from '../charts/bars.ts'
import { SignedScale } from '../charts/scale.ts'
import { Element, Polled, Watching } from '../element.ts'
import { asked, direction } from '../parts.ts'
import { incomplete, proxied } from './caveats.ts'
import { type Column, sortedTable } from './sorted_table.ts'

type Portfolio = NonNullable<HoldingsQuery['portfolio']>
type Holding = Portfolio['holdings'][number]
type HoldingPart = Portfolio['contributions']['holdings'][number]
type SectorPart = Portfolio['contributions']['sectors'][number]
type Exposure = Portfolio['exposures'][number]

/** What brings risk: a holding or a sector, with its share of the whole VaR beside its weight. */
interface Bringer {
  name: string
  part: Omit<HoldingPart, 'symbol'> | Omit<SectorPart, 'sector'> | null
  ofVar: number | null
}

const NO_SECTOR = 'no sector stated'

export class HoldingsTab extends Element {
  private readonly holdings = new Polled(
    this,
    () => this.model.link.portfolioId,
    (signal) => this.model.client.ask(HoldingsDocument, { portfolioId: this.model.link.portfolioId }, signal),
  )
  private readonly orders: Record<'held' | 'bringing' | 'sectors', Order<string>> = {
    held: { key: 'value', descending: true },
    bringing: { key: 'share', descending: true },
    sectors: { key: 'share', descending: true },
  }

  constructor() {
    super()
    new Watching(this, (heard) => heard === 'state')
  }

  protected override render(): TemplateResult {
    return asked(
      this.holdings,
      ({ portfolio }) => (portfolio ? this.tables(portfolio) : html`<p class="empty">It is not known any more.</p>`),
      'Holdings',
    )
  }

  private tables(portfolio: Portfolio): TemplateResult {
    const { contributions, holdings, risk } = portfolio
    if (!holdings.length) return html`<p class="empty">Nothing is held but cash: ${money(portfolio.cash)}.</p>`
    const rows = joined(holdings, contributions.holdings)
    return html`
      ${incomplete(contributions.incompleteSymbols)} ${risk ? proxied(risk.proxiedSymbols, risk.coverage) : nothing}
      ${sortedTable({
        name: 'Positions',
        caption:
          'Positions at their marks; a negative quantity is held short. Days out: to trade out at a fifth of the daily volume, where that is known.',
        columns: HELD,
        rows: rows.map((row) => ({ ...row, proxied: risk?.proxiedSymbols.includes(row.symbol) ?? false })),
        order: this.orders.held,
        reorder: (order) => this.reorder('held', order),
        foot: heldFoot(portfolio),
      })}
      ${this.brought(
        'bringing',
        'Symbol',
        rows.map(({ symbol, part }) => ({
          name: symbol,
          part,
          ofVar: share(part?.componentVar95, contributions.var95),
        })),
        contributions,
      )}
      ${this.sectors(portfolio)}
    `
  }

  private sectors({ contributions, exposures }: Portfolio): TemplateResult {
    const net = new Map(exposures.map((each) => [each.sector, each]))
    return this.brought(
      'sectors',
      'Sector',
      contributions.sectors.map((part) => ({
        name: part.sector ?? NO_SECTOR,
        part,
        ofVar: share(part.componentVar95, contributions.var95),
        exposure: net.get(part.sector) ?? null,
      })),
      contributions,
    )
  }

  private brought(
    which: 'bringing' | 'sectors',
    label: string,
    rows: readonly (Bringer & { exposure?: Exposure | null })[],
    { var95, es975 }: Portfolio['contributions'],
  ): TemplateResult {
    const scale = new SignedScale(
      rows.flatMap(({ part, ofVar }) => [part?.weightFraction, ofVar]),
      BAR_LENGTH,
    )
    return sortedTable({
      name: `Risk by ${label.toLowerCase()}`,
      caption: html`Risk by ${label.toLowerCase()}: <span class="key key-accent">share of VaR</span>, <span class="key key-hedge">below
        zero where it hedges</span>, and <span class="key key-quiet">weight</span>`,
      columns: bringing(label, scale),
      rows,
      order: this.orders[which],
      reorder: (order) => this.reorder(which, order),
      foot: html`<tfoot><tr><th scope="row">Total</th>
        <td></td>
        <td>${withWeight(total(rows.map(({ ofVar }) => ofVar)), total(rows.map(({ part }) => part?.weightFraction)))}</td>
        <td>${money(var95)}</td><td>${money(es975)}</td><td title="Incremental VaR does not add up">–</td></tr></tfoot>`,
    })
  }

  private reorder(which: keyof HoldingsTab['orders'], order: Order<string>): void {
    this.orders[which] = order
    this.requestUpdate()
  }
}

const HELD: readonly Column<Holding & { proxied: boolean }>[] = [
  {
    key: 'symbol',
    label: 'Symbol',
    cell: ({ symbol, sector, proxied: byProxy }) =>
      html`${symbol} <span class="under">${sector ?? NO_SECTOR}${byProxy ? ' · by proxy' : ''}</span>`,
    by: ({ symbol }) => symbol,
  },
  {
    key: 'quantity',
    label: 'Quantity',
    cell: ({ quantity }) => quantityOf(quantity),
    by: ({ quantity }) => quantity,
  },
  {
    key: 'mark',
    label: 'Mark',
    title: 'The price it is valued with, and how old that is',
    cell: ({ mark, markAgeMs }) =>
      mark === null ? html`no price` : html`${decimal(mark)} <span class="under">${duration(markAgeMs)} old</span>`,
    by: ({ mark }) => mark,
  },
  {
    key: 'value',
    label: 'Value',
    title: 'Quantity at its mark, and its part of the portfolio’s value',
    cell: ({ marketValue, weightFraction }) =>
      html`${money(marketValue)} <span class="under">${percent(weightFraction, 1)}</span>`,
    by: ({ marketValue }) => marketValue,
  },
  {
    key: 'day',
    label: 'Day P&L',
    title: 'Since the last close',
    cell: ({ dayPnl }) => signedMoney(dayPnl === null ? null : Math.round(dayPnl)),
    kind: ({ dayPnl }) => direction(dayPnl),
    by: ({ dayPnl }) => dayPnl,
  },
  {
    key: 'liquidity',
    label: 'Days out',
    title: 'Days to trade out of it, as a fifth of the average daily volume; – where no volume is known',
    cell: ({ liquidityDays }) => decimal(liquidityDays, 1),
    by: ({ liquidityDays }) => liquidityDays,
  },
]

function bringing(label: string, scale: SignedScale): readonly Column<Bringer>[] {
  return [
    { key: 'name', label, cell: ({ name }) => name, by: ({ name }) => name },
    {
      key: 'bars',
      label: 'Bars of both',
      cell: ({ part, ofVar }) =>
        bars(scale, [
          { value: ofVar, kind: (ofVar ?? 0) < 0 ? 'bar-hedge' : 'bar-accent' },
          { value: part?.weightFraction, kind: 'bar-quiet' },
        ]),
      kind: () => 'bar-cell',
    },
    {
      key: 'share',
      label: 'of VaR',
      title: 'Its component, as a part of the whole VaR 95%, negative where it hedges; and its weight under it',
      cell: ({ ofVar, part }) => withWeight(ofVar, part?.weightFraction),
      by: ({ ofVar }) => ofVar,
    },
    {
      key: 'var',
      label: 'VaR 95%',
      title: 'Component VaR: its part of the portfolio’s VaR 95%; the parts add up to it',
      cell: ({ part }) => money(part?.componentVar95),
      by: ({ part }) => part?.componentVar95,
    },
    {
      key: 'es',
      label: 'ES 97.5%',
      title: 'Component expected shortfall: the parts add up to the portfolio’s',
      cell: ({ part }) => money(part?.componentEs975),
      by: ({ part }) => part?.componentEs975,
    },
    {
      key: 'incremental',
      label: 'Increm.',
      title: 'Incremental VaR: the VaR 95% less what it would be without it; negative where it hedges',
      cell: ({ part }) => money(part?.incrementalVar95),
      by: ({ part }) => part?.incrementalVar95,
    },
  ]
}

function withWeight(ofVar: number | null, weight: number | null | undefined): TemplateResult {
  return html`${percent(ofVar, 1)} <span class="under">${percent(weight, 1)}</span>`
}

function heldFoot({ cash, holdings }: Portfolio): TemplateResult {
  const held = total(holdings.map(({ marketValue }) => marketValue))
  const value = total([held, cash])
  return html`<tfoot>
    <tr><th scope="row">Cash</th><td></td><td></td><td>${money(cash)} <span class="under">${percent(value !== null && value > 0 ? share(cash, value) : null, 1)}</span></td><td></td><td></td></tr>
    <tr><th scope="row">Total</th><td></td><td></td><td>${money(value)}</td>
      <td>${signedMoney(total(holdings.map(({ dayPnl }) => dayPnl && Math.round(dayPnl))))}</td><td></td></tr>
  </tfoot>`
}

customElements.define('holdings-tab', HoldingsTab)
