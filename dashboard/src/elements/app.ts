// The page put together: what is where, and where the keyboard goes when something opens or closes.
import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { keyed } from 'lit/directives/keyed.js'

import { Model } from '../store/model.ts'
import { Element, Watching } from './element.ts'
import './advisor.ts'
import './details.ts'
import './filters.ts'
import './firm.ts'
import './grid.ts'
import './header.ts'
import './keys.ts'
import './sign_in.ts'

export class PlimsollApp extends Element {
  override model = new Model()
  private opened = ''
  private askedToSignIn = false

  constructor() {
    super()
    new Watching(this)
    this.addEventListener('help', () => this.querySelector('keys-help')?.show())
    this.addEventListener('keydown', (event) => this.onKey(event))
    // The whole page hears Ctrl K, wherever the keyboard is.
    document.addEventListener('keydown', (event) => {
      if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey)) return
      event.preventDefault()
      this.querySelector('filter-bar')?.search()
    })
    this.model.start()
  }

  protected override render(): TemplateResult {
    const { model } = this
    return html`
      ${model.signIn === null ? html`<a class="skip" href="#portfolios" @click=${(event: Event) => this.skip(event)}>To the portfolios</a>` : nothing}
      <page-header .model=${model}></page-header>
      ${model.signIn === null ? keyed(model.viewer, this.portfolios()) : html`<main><sign-in .model=${model}></sign-in></main>`}
      <footer class="bottom">
        Numbers are estimates from historical scenarios, not forecasts. <a href="/docs">API</a>
        <a href="/pages/THIRD-PARTY-LICENSES.txt">Licences</a>
      </footer>
      <keys-help .model=${model}></keys-help>
    `
  }

  private portfolios(): TemplateResult {
    const { model } = this
    return html`
      <main class=${model.link.portfolioId ? 'with-details' : ''}>
        <firm-strip .model=${model}></firm-strip>
        <advisor-strip .model=${model} @gone=${() => this.toGrid()}></advisor-strip>
        <filter-bar .model=${model}></filter-bar>
        ${this.trouble()}
        <div class="panes">
          <div class="table-pane">
            <portfolio-grid id="portfolios" class=${model.stale ? 'is-stale' : ''} .model=${model}></portfolio-grid>
            ${this.emptiness()}
          </div>
          ${model.link.portfolioId ? html`<portfolio-details .model=${model}></portfolio-details>` : nothing}
        </div>
      </main>
    `
  }

  private trouble(): TemplateResult | typeof nothing {
    const { feed, connection } = this.model
    if (feed.error) {
      return html`<p class="problem" role="alert"><strong>The portfolios could not be read:</strong> ${feed.error.message}. The page tries again by itself.</p>`
    }
    if (connection === 'reconnecting') {
      return html`<p class="problem" role="alert"><strong>The connection is lost.</strong> What is shown is as it was; the page comes back by itself.</p>`
    }
    if (feed.stale) {
      return html`<p class="problem" role="alert"><strong>The engine is silent.</strong> What is shown is as it was last calculated.</p>`
    }
    return nothing
  }

  private emptiness(): TemplateResult | typeof nothing {
    const { view, feed } = this.model
    if (view.rows.length) return nothing
    const words = !feed.complete
      ? 'Reading portfolios…'
      : view.known.size
        ? 'No portfolio matches. Lower the risk number, or clear the search.'
        : 'There are no portfolios yet. They appear here with their first update.'
    return html`<p class="empty" role="status">${words}</p>`
  }

  protected override updated(_changed: PropertyValues): void {
    const { signIn, link } = this.model
    // The form had the keyboard, and is gone.
    if (this.askedToSignIn && signIn === null) this.toGrid()
    this.askedToSignIn = signIn !== null
    const { portfolioId } = link
    if (portfolioId === this.opened) return
    const before = this.opened
    this.opened = portfolioId
    if (portfolioId) this.querySelector('portfolio-details')?.focusTitle()
    else this.querySelector('portfolio-grid')?.focusRow(before)
  }

  private onKey(event: KeyboardEvent): void {
    if (event.key !== 'Escape' || event.defaultPrevented || !this.model.link.portfolioId) return
    if ((event.target as HTMLElement).closest('dialog')) return
    this.model.show({ portfolioId: '' })
  }

  private skip(event: Event): void {
    event.preventDefault()
    this.toGrid()
  }

  private toGrid(): void {
    this.querySelector<HTMLElement>('portfolio-grid [tabindex="0"]')?.focus()
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'filter-bar': import('./filters.ts').FilterBar
    'keys-help': import('./keys.ts').KeysHelp
    'portfolio-details': import('./details.ts').PortfolioDetails
    'portfolio-grid': import('./grid.ts').PortfolioGrid
  }
}

customElements.define('plimsoll-app', PlimsollApp)
