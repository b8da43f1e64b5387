// What falls of the market in the past would do to the portfolio of today, and what a fall that one imagines would.
import { html, nothing, type TemplateResult } from 'lit'

import {
  StressesDocument,
  type StressesQuery,
  StressPartsDocument,
  type StressPartsQuery,
} from '../../api/operations.ts'
import { money, percent, session, signedMoney, signedPercent } from '../../format.ts'
import { ordered } from '../../store/holdings.ts'
import { BAR_LENGTH, bars } from '../charts/bars.ts'
import { SignedScale } from '../charts/scale.ts'
import { Element, Polled, Watching } from '../element.ts'
import { asked, direction } from '../parts.ts'
import { incomplete, ofValue } from './caveats.ts'
import './shock.ts'
import { stressedParts } from './stressed.ts'

type Stress = StressesQuery['stress'][number]
type Parts = StressPartsQuery['stress'][number]

const COLUMNS = 4

export class StressTab extends Element {
  private readonly stresses = new Polled(
    this,
    () => this.model.link.portfolioId,
    (signal) => this.model.client.ask(StressesDocument, { portfolioId: this.model.link.portfolioId }, signal),
  )
  private readonly parts = new Polled<Parts | null>(
    this,
    () => `${this.model.link.portfolioId} ${this.opened}`,
    (signal) => this.askParts(signal),
  )
  /** The id of the stress whose parts are shown; empty where none is. */
  private opened = ''

  constructor() {
    super()
    new Watching(this, (heard) => heard === 'state')
  }

  protected override render(): TemplateResult {
    return html`${asked(this.stresses, ({ stress }) => this.table(stress), 'Stresses')}
      <shock-form .model=${this.model}></shock-form>`
  }

  private async askParts(signal: AbortSignal): Promise<Parts | null> {
    if (!this.opened) return null
    const variables = { portfolioId: this.model.link.portfolioId, stressId: this.opened }
    const { stress } = await this.model.client.ask(StressPartsDocument, variables, signal)
    return stress[0] ?? null
  }

  private table(found: readonly Stress[]): TemplateResult {
    const worstFirst = ordered(found, ({ pnl }) => pnl, false)
    const scale = new SignedScale(
      found.map(({ pnl }) => pnl),
      BAR_LENGTH,
    )
    return html`
      <p class="says">${inWords(worstFirst)}</p>
      ${incomplete(found[0]?.incompleteSymbols ?? [])}
      <div class="table-scroll" role="region" aria-label="Stresses" tabindex="0"><table class="stresses">
        <caption>The portfolio of today through past falls of the market, the worst first. “Own” is the share of gross exposure
          that repeats its own return; the rest follows the index by its beta. Choose one to see its holdings.</caption>
        <thead><tr><th scope="col">Stress</th><th scope="col">S&amp;P 500</th>
          <th scope="col" class="bar-cell"><span class="unseen">Bar of the P&amp;L</span></th><th scope="col">P&amp;L</th></tr></thead>
        <tbody>${worstFirst.map((stress) => this.row(stress, scale))}</tbody>
      </table></div>
    `
  }

  private row(stress: Stress, scale: SignedScale): TemplateResult {
    const { id, pnl } = stress
    const open = this.opened === id
    return html`<tr class=${open ? 'is-open' : ''} @click=${() => this.open(open ? '' : id)}>
        <th scope="row">
          <button type="button" class="opens" aria-expanded=${open}><span aria-hidden="true">${open ? '▾' : '▸'}</span> ${stress.name}</button>
          <span class="under">${session(stress.firstSession)} to ${session(stress.lastSession)}</span>
        </th>
        <td>${signedPercent(stress.indexReturn, 1)} <span class="under">${percent(stress.ownShareFraction, 0)} own</span></td>
        <td class="bar-cell">${bars(scale, [{ value: pnl, kind: pnl < 0 ? 'bar-loss' : 'bar-gain' }])}</td>
        <td class=${direction(pnl)}>${signedMoney(Math.round(pnl))} <span class="under">${signedPercent(stress.pnlFraction, 1)}</span></td>
      </tr>
      ${
        open
          ? html`<tr class="parts"><td colspan=${COLUMNS}>${asked(
              this.parts,
              (parts) => stressedParts(stress.name, parts.holdings, parts.sectors),
              'Its holdings',
            )}</td></tr>`
          : nothing
      }`
  }

  private open(id: string): void {
    this.opened = id
    this.requestUpdate()
  }
}

/** The main thing, in a sentence. */
function inWords(worstFirst: readonly Stress[]): TemplateResult | string {
  const worst = worstFirst[0]
  if (!worst) return 'There are no stresses.'
  const gains = worstFirst.filter(({ pnl }) => pnl > 0).length
  return html`${
    worst.pnl < 0
      ? html`The worst would be <strong>${worst.name}</strong>: <strong>${signedMoney(Math.round(worst.pnl))}</strong>${ofValue(signedPercent(worst.pnlFraction, 1))}, while
        the index moved ${signedPercent(worst.indexReturn, 1)}.`
      : html`No past fall of the market would have cost this portfolio anything: the least gain is ${money(worst.pnl)}.`
  } ${worst.pnl < 0 && gains ? html`It would have gained in ${gains} of ${worstFirst.length}.` : nothing}`
}

customElements.define('stress-tab', StressTab)
