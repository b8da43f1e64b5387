// Value at risk by every method side by side. They see the same holdings and the same past sessions, and differ in what
// they take tomorrow to be: how far they lie apart says how much of the number is the portfolio and how much the model.
import { html, nothing, type TemplateResult } from 'lit'

import { MethodsDocument, type MethodsQuery } from '../../api/operations.ts'
import { decimal, money, percent, session } from '../../format.ts'
import { BAR_LENGTH, bars } from '../charts/bars.ts'
import { SignedScale } from '../charts/scale.ts'
import { Element, Polled, Watching } from '../element.ts'
import { asked } from '../parts.ts'
import { incomplete, proxied } from './caveats.ts'
import { choice } from './choice.ts'

type Alternative = MethodsQuery['alternatives'][number]
type Compared = 'var95' | 'var99' | 'es975'

const COMPARED: Record<Compared, string> = { var95: 'VaR 95%', var99: 'VaR 99%', es975: 'ES 97.5%' }
const FRACTIONS = { var95: 'var95Fraction', var99: 'var99Fraction', es975: 'es975Fraction' } as const

/** What each method takes tomorrow to be. One that is new here is shown without. */
const TOMORROW: Record<string, string> = {
  filtered_historical: 'a past day, rescaled to how volatile each name is now',
  historical: 'a past day as it was, all equally likely',
  age_weighted: 'a past day as it was, recent ones likelier',
  ewma_normal: 'normal, as volatile as the last weeks',
  normal: 'normal, with the mean and variance of all past days',
  cornish_fisher: 'normal, bent by the skew and the fat tails of the past',
  monte_carlo: 'a draw from Student’s t, as correlated as the last weeks',
}

/** Seven methods, one of them with 20,000 draws: not asked for as often as cheaper things. */
const EVERY_MS = 10_000

export class MethodsTab extends Element {
  private readonly methods = new Polled(
    this,
    () => this.model.link.portfolioId,
    (signal) => this.model.client.ask(MethodsDocument, { portfolioId: this.model.link.portfolioId }, signal),
    EVERY_MS,
  )
  private compared: Compared = 'var95'

  constructor() {
    super()
    new Watching(this, (heard) => heard === 'state')
  }

  protected override render(): TemplateResult {
    return asked(this.methods, (found) => this.compare(found), 'Methods')
  }

  private compare({ alternatives: found, portfolioRisk: risk }: MethodsQuery): TemplateResult {
    return html`
      ${risk ? [incomplete(risk.incompleteSymbols), proxied(risk.proxiedSymbols, risk.coverage)] : nothing}
      <p class="says">${apart(found, this.compared)}</p>
      <div class="choices">${choice(
        'What the bars compare',
        Object.entries(COMPARED).map(([value, name]) => ({ value: value as Compared, name })),
        this.compared,
        (compared) => {
          this.compared = compared
          this.requestUpdate()
        },
      )}</div>
      ${table(found, this.compared)}
      <p class="says quiet">All see the same holdings at the same marks, and the same past days. They differ in what they take
        tomorrow to be: when markets have just become wild, those that weigh recent days say more than those that weigh all
        days alike; when losses are lopsided, a normal law says too little far out.</p>
    `
  }
}

function table(found: readonly Alternative[], compared: Compared): TemplateResult {
  const scale = new SignedScale(
    found.map((each) => each[compared]),
    BAR_LENGTH,
  )
  const inForce = found.find((each) => each.inForce)?.[compared]
  return html`<div class="table-scroll" role="region" aria-label="Methods" tabindex="0"><table class="methods">
    <caption>One day ahead<span class="of-bars">; the bars compare ${COMPARED[compared]}, the dashed line is the method in
      force</span></caption>
    <thead><tr><th scope="col">Method, and what it takes tomorrow to be</th><th scope="col" class="bar-cell"><span class="unseen">Bar of ${COMPARED[compared]}</span></th>
      ${Object.values(COMPARED).map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${found.map((each) => row(each, compared, scale, inForce))}</tbody>
  </table></div>`
}

function row(
  each: Alternative,
  compared: Compared,
  scale: SignedScale,
  inForce: number | null | undefined,
): TemplateResult {
  const bar = bars(
    scale,
    [{ value: each[compared], kind: each.inForce ? 'bar-accent' : 'bar-quiet' }],
    inForce ?? undefined,
  )
  return html`<tr class=${each.inForce ? 'in-force' : ''}>
    <th scope="row">${each.label}${each.inForce ? html` <span class="badge">in force</span>` : nothing}
      <span class="under">${TOMORROW[each.method] ?? nothing}</span>
      ${each.var95ScenarioDate ? html`<span class="under">its VaR 95% is ${session(each.var95ScenarioDate)}</span>` : nothing}</th>
    <td class="bar-cell">${bar}</td>
    ${(Object.keys(COMPARED) as Compared[]).map(
      (measure) =>
        html`<td>${each[measure] === null ? 'not defined' : html`${money(each[measure])} <span class="under">${percent(each[FRACTIONS[measure]])}</span>`}</td>`,
    )}
  </tr>`
}

/** How far the methods lie apart, in a sentence. */
function apart(found: readonly Alternative[], compared: Compared): TemplateResult | string {
  const known = found.flatMap((each) => (each[compared] === null ? [] : [{ label: each.label, value: each[compared] }]))
  known.sort((one, other) => one.value - other.value)
  const [least, most] = [known[0], known.at(-1)]
  if (!least || !most) return 'No method is defined for this portfolio.'
  const times = least.value > 0 ? `, ${decimal(most.value / least.value, 1)} times as much` : ''
  return html`${COMPARED[compared]} lies between <strong>${money(least.value)}</strong> (${least.label}) and
    <strong>${money(most.value)}</strong> (${most.label})${times}.`
}

customElements.define('methods-tab', MethodsTab)
