// One portfolio: what it holds, why its risk is what it is, and what would change it. Each tab asks for its own and only
// while it is shown.
import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'

import { count, fittedMoney, fittedSignedMoney, percent } from '../format.ts'
import { TABS, type Tab } from '../store/link.ts'
import { Element, Watching } from './element.ts'
import { direction, tile } from './parts.ts'
import './tabs/backtest.ts'
import './tabs/holdings.ts'
import './tabs/methods.ts'
import './tabs/overview.ts'
import './tabs/stress.ts'
import './tabs/whatif.ts'

const NAMES: Record<Tab, string> = {
  overview: 'Overview',
  holdings: 'Holdings',
  methods: 'Methods',
  stress: 'Stress',
  whatif: 'What if',
  backtest: 'Backtest',
}

export class PortfolioDetails extends Element {
  /** The portfolio that was there when it was last looked at. */
  private seen = ''

  constructor() {
    super()
    new Watching(this)
  }

  /** Put the keyboard where the details begin. */
  focusTitle(): void {
    void this.updateComplete.then(() => this.querySelector('h2')?.focus())
  }

  protected override render(): TemplateResult {
    const { model } = this
    const { portfolioId, tab } = model.link
    const row = model.selected
    if (row) this.seen = portfolioId
    return html`<aside class="details ${model.stale ? 'is-stale' : ''}" aria-labelledby="details-title">
      <header>
        <h2 id="details-title" tabindex="-1">${portfolioId}</h2>
        <button type="button" class="button" @click=${() => model.show({ portfolioId: '' })}>Close</button>
      </header>
      ${
        row
          ? html`<p class="of">
              <button type="button" class="link" @click=${() => model.filter({ advisorId: row.advisorId })}>${row.advisorId}</button>
              ${row.clientId ? html`for ${row.clientId}` : nothing}
            </p>
            <dl class="tiles">
              ${tile('Risk number', count(row.riskNumber), row.tolerance == null ? '' : `tolerance ${row.tolerance}`, `risk-${(row.band ?? '').toLowerCase()}`)}
              ${tile('VaR 95%', fittedMoney(row.var95), percent(row.var95Fraction))}
              ${tile('Day P&L', fittedSignedMoney(row.dayPnl), '', direction(row.dayPnl))}
              ${tile('Value', fittedMoney(row.marketValue))}
            </dl>`
          : nothing
      }
      ${this.tabs(tab)}
      <div role="tabpanel" id="details-panel" aria-labelledby="tab-${tab}" tabindex="0">${
        row || !model.feed.complete
          ? this.panel(tab)
          : html`<p class="empty" role="status">${
              this.seen === portfolioId
                ? `${portfolioId} was closed, or is not among your portfolios any more.`
                : `No portfolio ${portfolioId} is known here. Check the id, or wait for its first update.`
            }</p>`
      }</div>
    </aside>`
  }

  protected override update(changed: PropertyValues): void {
    const hadFocus = this.contains(document.activeElement)
    super.update(changed)
    // What had the keyboard went with the portfolio that was closed.
    if (hadFocus && !this.contains(document.activeElement)) this.querySelector<HTMLElement>('#details-panel')?.focus()
  }

  private tabs(chosen: Tab): TemplateResult {
    return html`<div role="tablist" aria-label="Details" class="tabs" @keydown=${(event: KeyboardEvent) => this.onKey(event)}>
      ${TABS.map(
        (
          tab,
        ) => html`<button type="button" role="tab" id="tab-${tab}" aria-controls="details-panel" aria-selected=${tab === chosen}
          tabindex=${tab === chosen ? 0 : -1} @click=${() => this.model.show({ tab })}>${NAMES[tab]}</button>`,
      )}
    </div>`
  }

  private panel(tab: Tab): TemplateResult {
    const { model } = this
    switch (tab) {
      case 'overview':
        return html`<overview-tab .model=${model}></overview-tab>`
      case 'holdings':
        return html`<holdings-tab .model=${model}></holdings-tab>`
      case 'methods':
        return html`<methods-tab .model=${model}></methods-tab>`
      case 'stress':
        return html`<stress-tab .model=${model}></stress-tab>`
      case 'whatif':
        return html`<what-if-tab .model=${model}></what-if-tab>`
      case 'backtest':
        return html`<backtest-tab .model=${model}></backtest-tab>`
    }
  }

  private onKey(event: KeyboardEvent): void {
    const steps: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1 }
    const step = steps[event.key]
    if (!step) return
    event.preventDefault()
    const next = TABS[(TABS.indexOf(this.model.link.tab) + step + TABS.length) % TABS.length] as Tab
    this.model.show({ tab: next })
    void this.updateComplete.then(() => this.querySelector<HTMLElement>(`#tab-${next}`)?.focus())
  }
}

customElements.define('portfolio-details', PortfolioDetails)
