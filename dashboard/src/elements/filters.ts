// Which portfolios are shown: from which risk number on, and whose.
import { html, nothing, type TemplateResult } from 'lit'

import { count } from '../format.ts'
import { AT_RISK_FROM, NUMBER_MAX, NUMBER_MIN } from '../store/risk_scale.ts'
import { Element, Watching } from './element.ts'

export class FilterBar extends Element {
  /** What was asked for last, and how many were found then. */
  private asked = ''
  private found = ''

  constructor() {
    super()
    new Watching(this)
  }

  /** Put the keyboard into the search. */
  search(): void {
    this.querySelector<HTMLInputElement>('input[type=search]')?.focus()
  }

  protected override render(): TemplateResult {
    const { model } = this
    const { min, text } = model.link.filter
    const atRisk = min === AT_RISK_FROM
    return html`<form class="filters" role="search" @submit=${(event: Event) => event.preventDefault()}>
      <label class="slider">
        <span>Risk number at least</span>
        <input type="range" min=${NUMBER_MIN} max=${NUMBER_MAX} .value=${String(min)}
          @input=${(event: InputEvent) => model.filter({ min: Number((event.target as HTMLInputElement).value) })}>
        <output>${min}</output>
      </label>
      <button type="button" class="button" aria-pressed=${atRisk}
        @click=${() => model.filter({ min: atRisk ? NUMBER_MIN : AT_RISK_FROM })}>At risk (${AT_RISK_FROM} or more)</button>
      <label class="find">
        <span>Find</span>
        <input type="search" placeholder="portfolio, advisor or client" .value=${text} autocomplete="off" spellcheck="false"
          @input=${(event: InputEvent) => model.filter({ text: (event.target as HTMLInputElement).value })}>
      </label>
      <p class="shown">
        ${count(model.view.rows.length)} of ${count(model.view.known.size)} shown${this.loading()}${
          model.view.held
            ? html` <span class="held">order held while you point at the table or move in it</span>`
            : nothing
        }
      </p>
      <p class="unseen" role="status">${this.answer()}</p>
    </form>`
  }

  /** Read out once for each filter, and not whenever the market takes a row across its bounds. */
  private answer(): string {
    const { view, feed } = this.model
    const asked = JSON.stringify([feed.complete, view.filter])
    if (asked !== this.asked)
      this.found = feed.complete ? `${count(view.rows.length)} of ${count(view.known.size)} portfolios match` : ''
    this.asked = asked
    return this.found
  }

  private loading(): TemplateResult | typeof nothing {
    const { progress, complete } = this.model.feed
    if (complete || !progress) return nothing
    return html` <progress max=${progress.of} value=${progress.read} aria-label="Reading portfolios"></progress>`
  }
}

customElements.define('filter-bar', FilterBar)
