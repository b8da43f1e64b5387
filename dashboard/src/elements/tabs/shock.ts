// A fall, or a rise, that one imagines: of the market, of a sector, of a symbol; the more particular one goes before.
// Asked for when it is sent, and shown as the answer of that moment until it is sent again.
import { html, nothing, type TemplateResult } from 'lit'

import { ApiError } from '../../api/client.ts'
import {
  ShockChoicesDocument,
  type ShockChoicesQuery,
  ShockDocument,
  type ShockQuery,
  type ShockQueryVariables,
} from '../../api/operations.ts'
import { signedMoney, signedPercent, time } from '../../format.ts'
import { type Problems, readShock, type ShockFields } from '../../store/shock_form.ts'
import { type Asked, Element, Polled, Watching } from '../element.ts'
import { asked, direction } from '../parts.ts'
import { incomplete, ofValue } from './caveats.ts'
import { stressedParts } from './stressed.ts'

const UNTOUCHED: ShockFields = { market: '−20', sector: '', sectorPercent: '', symbol: '', symbolPercent: '' }
/** What is held changes rarely; it is only offered, not checked against. */
const CHOICES_EVERY_MS = 60_000

export class ShockForm extends Element {
  private readonly choices = new Polled<ShockChoicesQuery>(
    this,
    () => this.model.link.portfolioId,
    (signal) => this.model.client.ask(ShockChoicesDocument, { portfolioId: this.model.link.portfolioId }, signal),
    CHOICES_EVERY_MS,
  )
  private fields: ShockFields = { ...UNTOUCHED }
  private problems: Problems = {}
  private answer: (Asked<ShockQuery['shock']> & { portfolioId: string }) | null = null

  constructor() {
    super()
    new Watching(this, (heard) => heard === 'state')
  }

  protected override render(): TemplateResult {
    const { sectors, symbols } = this.held()
    return html`<section class="shock" aria-labelledby="shock-title">
      <h3 id="shock-title">A shock of your own</h3>
      <p class="says quiet">An assumed return, in percent. A symbol’s goes before its sector’s, a sector’s before the market’s.</p>
      <form @submit=${(event: Event) => this.send(event)} novalidate>
        ${this.field('market', 'Market', 'percent')}
        ${this.field('sector', 'Sector', 'name', sectors)} ${this.field('sectorPercent', 'Sector by', 'percent')}
        ${this.field('symbol', 'Symbol', 'name', symbols)} ${this.field('symbolPercent', 'Symbol by', 'percent')}
        <button type="submit" class="button primary">Shock it</button>
      </form>
      <div aria-live="polite">${this.result()}</div>
    </section>`
  }

  private held(): { sectors: string[]; symbols: string[] } {
    const portfolio = this.choices.data?.portfolio
    return {
      sectors: (portfolio?.exposures ?? []).flatMap(({ sector }) => (sector === null ? [] : [sector])),
      symbols: (portfolio?.holdings ?? []).map(({ symbol }) => symbol).sort(),
    }
  }

  private field(
    name: keyof ShockFields,
    label: string,
    kind: 'name' | 'percent',
    offered: readonly string[] = [],
  ): TemplateResult {
    const problem = this.problems[name]
    return html`<div class="field ${kind}">
      <label for="shock-${name}">${label}</label>
      <span class="entry"><input id="shock-${name}" type="text" autocomplete="off"
        .value=${this.fields[name]} list=${offered.length ? `shock-${name}-list` : nothing}
        aria-invalid=${problem ? 'true' : nothing} aria-describedby=${problem ? `shock-${name}-problem` : nothing}
        @input=${(event: Event) => this.typed(name, event)} />${kind === 'percent' ? html`<span aria-hidden="true">%</span>` : nothing}</span>
      ${offered.length ? html`<datalist id="shock-${name}-list">${offered.map((each) => html`<option value=${each}></option>`)}</datalist>` : nothing}
      ${problem ? html`<span class="wrong" id="shock-${name}-problem">${problem}</span>` : nothing}
    </div>`
  }

  private typed(name: keyof ShockFields, event: Event): void {
    this.fields[name] = (event.target as HTMLInputElement).value
  }

  private send(event: Event): void {
    event.preventDefault()
    const read = readShock(this.fields, this.held())
    this.problems = 'problems' in read ? read.problems : {}
    this.requestUpdate()
    if ('shock' in read) void this.ask({ portfolioId: this.model.link.portfolioId, ...read.shock })
    else void this.updateComplete.then(() => this.querySelector<HTMLElement>('[aria-invalid]')?.focus())
  }

  private async ask(variables: ShockQueryVariables): Promise<void> {
    const answer: ShockForm['answer'] = { portfolioId: variables.portfolioId, data: null, error: null, atMs: 0 }
    this.answer = answer
    try {
      answer.data = (await this.model.client.ask(ShockDocument, variables)).shock
      answer.atMs = Date.now()
    } catch (failed) {
      answer.error = ApiError.of(failed)
    }
    // A later question has its own answer.
    if (this.answer === answer) this.requestUpdate()
  }

  private result(): TemplateResult | typeof nothing {
    if (this.answer?.portfolioId !== this.model.link.portfolioId) return nothing
    const { answer } = this
    return asked(answer, (shock) => told(shock, answer.atMs), 'The shock')
  }
}

function told(shock: ShockQuery['shock'], atMs: number): TemplateResult {
  const unused = [...shock.unusedSectors, ...shock.unusedSymbols]
  return html`
    <p class="says">At the marks of ${time(atMs)} it would bring <strong class=${direction(shock.pnl)}>${signedMoney(Math.round(shock.pnl))}</strong>${ofValue(signedPercent(shock.pnlFraction, 2))}.</p>
    ${unused.length ? html`<p class="problem"><strong>Shocked, but not held:</strong> ${unused.join(', ')}.</p>` : nothing}
    ${incomplete(shock.incompleteSymbols)} ${stressedParts('The shock', shock.holdings, shock.sectors)}
  `
}

customElements.define('shock-form', ShockForm)
