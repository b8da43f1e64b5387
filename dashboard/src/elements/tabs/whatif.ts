// What if: trades that are only thought of, and what they would change. It is computed anew a moment after one types, and
// with the prices of now every few seconds; then the trades can be sent.
import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'

import { SymbolsHeldDocument, WhatIfDocument, WhatIfHoldingsDocument, type WhatIfQuery } from '../../api/operations.ts'
import { token } from '../../api/token.ts'
import { type Read, readLines, type Trade } from '../../store/trades.ts'
import { Element, Polled, Watching } from '../element.ts'
import { asked } from '../parts.ts'
import { type Draft, Drafts } from './whatif_draft.ts'
import type { Holding } from './whatif_lines.ts'
import './whatif_lines.ts'
import { comparison, limits, provisos } from './whatif_result.ts'
import './whatif_sender.ts'

const TYPED_MS = 300
const drafts = new Drafts()

interface Answer {
  /** What it is the answer to. */
  trades: readonly Trade[]
  whatIf: WhatIfQuery['whatIf']
}

export class WhatIfTab extends Element {
  private typed: ReturnType<typeof setTimeout> | undefined
  /** The trades that were asked about last, or are about to be. */
  private computed = ''
  private readonly result = new Polled<Answer>(
    this,
    () => this.model.link.portfolioId,
    (signal) => this.calculate(signal),
  )
  private readonly held = new Polled(
    this,
    () => this.model.link.portfolioId,
    (signal) => this.model.client.ask(WhatIfHoldingsDocument, { portfolioId: this.model.link.portfolioId }, signal),
  )
  private readonly others = new Polled(
    this,
    () => 'whatever is shown',
    (signal) => this.model.client.ask(SymbolsHeldDocument, {}, signal),
    Number.POSITIVE_INFINITY,
  )

  constructor() {
    super()
    new Watching(this, (heard) => heard === 'state')
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    clearTimeout(this.typed)
  }

  protected override render(): TemplateResult {
    const { model, draft, read, holdings } = this
    return html`<section class="what-if" aria-label="What if">
      <p class="note">Nothing is traded while you type; the numbers follow you, and the market.</p>
      ${
        this.held.error
          ? html`<p class="problem" role="alert"><strong>What is held could not be ${this.held.data ? 'brought up to date' : 'loaded'}:</strong> ${this.held.error.message}</p>`
          : nothing
      }
      <trade-lines .model=${model} .draft=${draft} .read=${read} .holdings=${holdings} .symbols=${this.symbols}
        @edited=${() => this.requestUpdate()}></trade-lines>
      <trade-sender .model=${model} .draft=${draft} .read=${read} .holdings=${holdings} .stands=${this.result.data?.whatIf.before ?? null}
        @sent=${() => this.requestUpdate()} @applied=${() => this.applied()} @unfinished=${() => this.querySelector('trade-lines')?.reveal()}></trade-sender>
      ${asked(this.result, (answer) => this.answered(answer, read), 'What if')}
    </section>`
  }

  protected override updated(_changed: PropertyValues): void {
    const trades = JSON.stringify(this.read.trades)
    if (trades === this.computed) return
    this.computed = trades
    clearTimeout(this.typed)
    this.typed = setTimeout(() => void this.result.again(), TYPED_MS)
  }

  private answered({ trades, whatIf }: Answer, read: Read): TemplateResult {
    const current = same(trades, read.trades)
    const traded = trades.length > 0
    return html`<div class="what-if-result ${current ? '' : 'is-old'}" aria-busy=${!current}>
      <p class="note" role="status">${current ? pending(read) : 'Computing with what you typed…'}</p>
      ${provisos(whatIf, traded)} ${comparison(whatIf, traded)} ${limits(whatIf.breaches, traded)}
    </div>`
  }

  private get draft(): Draft {
    return drafts.of(token(), this.model.link.portfolioId)
  }

  private get read(): Read {
    return readLines(this.draft.lines, this.symbols)
  }

  /** What is held, by symbol; null while it is not known. */
  private get holdings(): ReadonlyMap<string, Holding> | null {
    const { data } = this.held
    return data && new Map(data.portfolio?.holdings.map((each) => [each.symbol, each]))
  }

  /** What the portfolio holds first, then what others hold. */
  private get symbols(): readonly string[] {
    const others =
      this.others.data?.portfolios.nodes.flatMap(({ holdings }) => holdings.map(({ symbol }) => symbol)) ?? []
    return [...new Set([...(this.holdings?.keys() ?? []), ...others.sort()])]
  }

  private async calculate(signal: AbortSignal): Promise<Answer> {
    const { trades } = this.read
    this.computed = JSON.stringify(trades)
    const { portfolioId } = this.model.link
    const { whatIf } = await this.model.client.ask(WhatIfDocument, { portfolioId, trades }, signal)
    return { trades, whatIf }
  }

  private applied(): void {
    void this.held.again()
    void this.result.again()
  }
}

/** What of the form is not in the numbers. */
function pending({ faults }: Read): string | typeof nothing {
  const lines = new Set(faults.map(({ key }) => key)).size
  if (!lines) return nothing
  return lines === 1
    ? 'One line is not finished, and not in these numbers.'
    : `${lines} lines are not finished, and not in these numbers.`
}

function same(a: readonly Trade[], b: readonly Trade[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

declare global {
  interface HTMLElementTagNameMap {
    'trade-lines': import('./whatif_lines.ts').TradeLines
  }
}

customElements.define('what-if-tab', WhatIfTab)
