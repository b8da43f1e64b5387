// The advisor whose portfolios are shown alone: the risk of that book as a whole.
import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'

import { count } from '../format.ts'
import { Element, Watching } from './element.ts'
import { tiles } from './firm.ts'

/** Tells `gone` when it goes with the keyboard in it. */
export class AdvisorStrip extends Element {
  constructor() {
    super()
    new Watching(this)
  }

  protected override render(): TemplateResult | typeof nothing {
    const { model } = this
    const { advisorId } = model.link.filter
    if (!advisorId) return nothing
    const error = model.advisorError
    return html`<section class="firm advisor ${model.stale ? 'is-stale' : ''}" aria-label="Advisor ${advisorId}">
      <div class="advisor-title">
        <h2>${advisorId}</h2>
        <p>${model.advisor ? `${portfolios(model.advisor.totalCount)}, as one book` : error ? '' : 'Loading…'}</p>
        <button type="button" class="button" @click=${() => model.filter({ advisorId: '' })}>Show everyone</button>
      </div>
      ${error ? html`<p class="problem" role="alert">${error.message}</p>` : html`<dl class="tiles">${tiles(model.advisor?.risk ?? null, 0)}</dl>`}
    </section>`
  }

  protected override update(changed: PropertyValues): void {
    const hadFocus = this.contains(document.activeElement)
    super.update(changed)
    if (hadFocus && !this.contains(document.activeElement)) this.dispatchEvent(new CustomEvent('gone'))
  }
}

function portfolios(many: number): string {
  return many === 1 ? '1 portfolio' : `${count(many)} portfolios`
}

customElements.define('advisor-strip', AdvisorStrip)
