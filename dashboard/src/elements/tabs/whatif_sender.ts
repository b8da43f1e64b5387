// Sending trades: asked for once more, in words that say exactly what is sent; sent once, however often one clicks; then
// followed until the engine values the portfolio as they leave it.
import { html, nothing, type TemplateResult } from 'lit'

import { ApiError } from '../../api/error.ts'
import { SendTradesDocument, type WhatIfSideFragment } from '../../api/operations.ts'
import { count, quantity, signedQuantity, time } from '../../format.ts'
import { isLater } from '../../store/book.ts'
import type { Read, Trade } from '../../store/trades.ts'
import { Element } from '../element.ts'
import type { Draft } from './whatif_draft.ts'
import type { Holding } from './whatif_lines.ts'
import { followed, PATIENCE_MS, type Present, published, refused, type Sending } from './whatif_sending.ts'

const LOOK_MS = 250
const ALWAYS = { attribute: false, hasChanged: () => true }

interface Proposal {
  portfolioId: string
  draft: Draft
  trades: readonly Trade[]
  /** By symbol, as it was when the dialog was opened; null where it is not known. */
  holdings: ReadonlyMap<string, Holding> | null
}

/** Tells `sent` when trades are published, `applied` when they are in force, `unfinished` where lines are not yet trades. */
export class TradeSender extends Element {
  static override properties = { ...Element.properties, draft: ALWAYS, read: ALWAYS, holdings: ALWAYS, stands: ALWAYS }
  declare draft: Draft
  declare read: Read
  declare holdings: ReadonlyMap<string, Holding> | null
  /** The portfolio as it stands, where that is known. */
  declare stands: WhatIfSideFragment | null
  /** What the dialog says; what it says is what is sent, whatever moves behind it. */
  private proposal: Proposal | null = null
  private looking: ReturnType<typeof setInterval> | undefined

  override connectedCallback(): void {
    super.connectedCallback()
    this.looking = setInterval(() => this.look(), LOOK_MS)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    clearInterval(this.looking)
  }

  protected override render(): TemplateResult {
    const sending = this.draft.sending?.stage === 'on its way'
    const many = this.read.trades.length
    return html`<p class="send">
        <button type="button" class="button primary" ?disabled=${sending || (!many && !this.read.faults.length)}
          @click=${() => this.propose()}>${sending ? 'Sending…' : 'Send it…'}</button>
        <span class="note">${sending || many ? '' : 'Nothing to send: there is no trade yet.'}</span>
      </p>
      <div class="sent" role="status" tabindex="-1">${this.draft.sending ? standing(this.draft.sending) : nothing}</div>
      <dialog aria-labelledby="send-title" @close=${() => this.closed()}>${this.proposal ? this.asking(this.proposal, sending) : nothing}</dialog>`
  }

  private asking({ portfolioId, trades, holdings }: Proposal, sending: boolean): TemplateResult {
    return html`<h2 id="send-title">Send ${tradesIn(trades.length)} of ${portfolioId}?</h2>
      <p>The portfolio changes for everybody who looks at it. Cash stays as it is.</p>
      <table>
        <thead><tr><th scope="col">Symbol</th><th scope="col">Change</th><th scope="col">Held now</th><th scope="col">Afterwards</th></tr></thead>
        <tbody>${trades.map(({ symbol, quantity: change }) => {
          const now = holdings && (holdings.get(symbol)?.quantity ?? 0)
          return html`<tr><th scope="row">${symbol}</th><td>${signedQuantity(change)}</td><td>${quantity(now)}</td>
            <td>${quantity(now === null ? null : now + change)}</td></tr>`
        })}</tbody>
      </table>
      <p class="note">Sent as <code>simulatePortfolioUpdate</code> with the changes above. What is held may be another
        quantity by the time they arrive.</p>
      <p class="dialog-buttons">
        <button type="button" class="button" autofocus @click=${() => this.dialog?.close()}>Cancel</button>
        <button type="button" class="button primary" ?disabled=${sending} @click=${() => void this.send()}>${
          sending ? 'Sending…' : `Send ${tradesIn(trades.length)}`
        }</button>
      </p>`
  }

  private get dialog(): HTMLDialogElement | null {
    return this.querySelector('dialog')
  }

  private propose(): void {
    if (this.read.faults.length || !this.read.trades.length) {
      this.dispatchEvent(new CustomEvent('unfinished'))
      return
    }
    this.proposal = {
      portfolioId: this.model.link.portfolioId,
      draft: this.draft,
      trades: this.read.trades,
      holdings: this.holdings,
    }
    this.requestUpdate()
    void this.updateComplete.then(() => this.dialog?.showModal())
  }

  private closed(): void {
    this.proposal = null
    this.requestUpdate()
  }

  private async send(): Promise<void> {
    if (!this.proposal || this.proposal.draft.sending?.stage === 'on its way') return
    // Somebody may go on to another portfolio while it is on its way.
    const { portfolioId, draft, trades } = this.proposal
    const onItsWay: Sending = {
      stage: 'on its way',
      portfolioId,
      trades,
      sequenceBefore: this.present(portfolioId)?.sequence ?? '0',
    }
    draft.sending = onItsWay
    this.requestUpdate()
    draft.sending = await this.ask(onItsWay)
    if (draft.sending.stage === 'published') {
      draft.clear()
      this.dispatchEvent(new CustomEvent('sent'))
    }
    this.dialog?.close()
    this.requestUpdate()
    await this.updateComplete
    this.querySelector<HTMLElement>('.sent')?.focus()
  }

  /** Ask the server, once. It is not asked again by itself: what is unanswered may have been done. */
  private async ask(sending: Sending): Promise<Sending> {
    const { portfolioId, trades } = sending
    try {
      const { simulatePortfolioUpdate: answer } = await this.model.client.ask(SendTradesDocument, {
        input: { portfolioId, trades: [...trades] },
      })
      if (answer.__typename === 'PortfolioUpdateAccepted') return published(sending, answer, Date.now())
      const field = answer.__typename === 'InvalidInputProblem' ? answer.field : null
      return refused(sending, answer.message, answer.code, field)
    } catch (failed) {
      if (!(failed instanceof ApiError)) throw failed
      return refused(sending, failed.message, failed.code)
    }
  }

  /** See whether what was published is in force. */
  private look(): void {
    const { sending } = this.draft
    if (!sending) return
    this.draft.sending = followed(sending, this.present(sending.portfolioId), Date.now())
    if (this.draft.sending === sending) return
    if (this.draft.sending.stage === 'in force') this.dispatchEvent(new CustomEvent('applied'))
    this.requestUpdate()
  }

  /** The newest that is known of a portfolio, from the list or from what was asked last. */
  private present(portfolioId: string): Present | null {
    const row = this.model.book.rows.get(portfolioId)
    const { stands } = this
    if (stands && !(row && isLater(row.sequence, stands.sequence))) {
      return { ...stands, calculatedMs: Date.parse(stands.calculatedAt) }
    }
    return row ?? null
  }
}

/** What became of what was sent, in sentences. */
function standing(sending: Sending): TemplateResult {
  switch (sending.stage) {
    case 'on its way':
      return html`<p>Sending ${listed(sending.trades)}…</p>`
    case 'refused':
      return html`<p class="problem"><strong>${sending.certainly ? 'Not sent:' : 'It may not have been sent:'}</strong>
        ${sending.field ? `${sending.field}: ` : ''}${sending.reason}${
          sending.certainly ? '' : '. Look at what is held before you send it again'
        }.</p>`
    case 'published':
      return html`<p>Sent at ${time(sending.atMs)}: ${listed(sending.trades)}. ${
        sending.late
          ? html`<strong>The engine has not applied it within ${PATIENCE_MS / 1000} seconds.</strong> It is kept on the topic and
            comes into force when the engine reads it; do not send it again.`
          : 'Waiting for the engine…'
      } ${where(sending)}</p>`
    case 'in force':
      return html`<p class="in-force"><strong>In force since ${time(sending.sinceMs)}:</strong> ${listed(sending.trades)}.
        Risk number ${count(sending.riskNumber)}. ${where(sending)}</p>`
  }
}

function where({ published: { topic, partition, offset } }: Extract<Sending, { published: unknown }>): TemplateResult {
  return html`<span class="note">${topic}, partition ${partition}, offset ${offset}</span>`
}

function listed(trades: readonly Trade[]): string {
  return trades.map(({ symbol, quantity: change }) => `${symbol} ${signedQuantity(change)}`).join(', ')
}

function tradesIn(many: number): string {
  return many === 1 ? '1 trade' : `${many} trades`
}

customElements.define('trade-sender', TradeSender)
