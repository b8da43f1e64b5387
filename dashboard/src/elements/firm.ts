// The book as a whole: its own risk, which is not the sum of its portfolios' (VaR does not add), and how the risk numbers
// are spread. The same strip stands above an advisor's portfolios, of that advisor's book.
import { html, nothing, svg, type TemplateResult } from 'lit'

import type { AggregateFragment } from '../api/operations.ts'
import { briefMoney, briefSignedMoney, count, decimal, percent } from '../format.ts'
import { AT_RISK_FROM, bandAt } from '../store/risk_scale.ts'
import { distribution } from '../store/view.ts'
import { Element, Watching } from './element.ts'
import { direction, tile } from './parts.ts'

const BAR = 26
const HEIGHT = 44

export class FirmStrip extends Element {
  constructor() {
    super()
    new Watching(this, (heard) => heard === 'state')
  }

  protected override render(): TemplateResult {
    const { model } = this
    const risk = model.firm?.firmRisk ?? null
    return html`<section class="firm ${model.stale ? 'is-stale' : ''}" aria-label="All portfolios">
      ${
        model.firmError && model.signIn === null
          ? html`<p class="problem" role="alert"><strong>The totals could not be brought up to date:</strong> ${model.firmError.message}</p>`
          : nothing
      }
      <dl class="tiles">${tiles(risk, model.view.known.size)}</dl>
      ${histogram(distribution(model.view.known.values()))}
    </section>`
  }
}

/** An aggregate's measures as tiles; dashes while it is not known. */
export function tiles(risk: AggregateFragment | null, portfolios: number): TemplateResult {
  return html`
    ${tile('Portfolios', count(risk?.portfolios ?? portfolios), risk?.partial ? 'partial' : '')}
    ${tile('Market value', briefMoney(risk?.marketValue))}
    ${tile('VaR 95%, 1 day', briefMoney(risk?.var95), percent(risk?.var95Fraction))}
    ${tile('ES 97.5%', briefMoney(risk?.es975))}
    ${tile('Day P&L', briefSignedMoney(risk?.dayPnl), '', direction(risk?.dayPnl))}
    ${tile('Sharpe', decimal(risk?.sharpeRatio))}
    ${tile('Beta', decimal(risk?.beta))}
    ${tile('Risk number', count(risk?.riskNumber))}
  `
}

/** How many portfolios stand where on the scale. The label says in words what the bars show. */
function histogram({ tens, without }: { tens: number[]; without: number }): TemplateResult {
  const most = Math.max(1, ...tens)
  const atRisk = tens.slice(AT_RISK_FROM / 10).reduce((sum, each) => sum + each, 0)
  const words = tens.map((many, ten) => `${rangeOf(ten)}: ${many}`).join('; ')
  return html`<figure class="distribution">
    <figcaption>
      Risk numbers: <strong>${count(atRisk)}</strong> at risk (${AT_RISK_FROM} or more)${without ? html`, ${count(without)} without a number` : nothing}
    </figcaption>
    <svg viewBox="0 0 ${10 * BAR} ${HEIGHT + 14}" role="img" aria-label="Portfolios by risk number. ${words}">
      ${tens.map((many, ten) => {
        const height = many ? Math.max(2, (HEIGHT * many) / most) : 0
        return svg`<rect class="bar-${bandAt(ten * 10).toLowerCase()}" x=${ten * BAR + 2} y=${HEIGHT - height}
            width=${BAR - 4} height=${height} rx="2"><title>${rangeOf(ten)}: ${many}</title></rect>
          <text x=${ten * BAR + BAR / 2} y=${HEIGHT + 12} text-anchor="middle">${ten * 10 || 1}</text>`
      })}
    </svg>
  </figure>`
}

function rangeOf(ten: number): string {
  return `${ten * 10 || 1} to ${ten * 10 + 9}`
}

customElements.define('firm-strip', FirmStrip)
