// The form of trades: a line each, with what is held of its symbol and buttons that sell half of it or all. Enter goes on
// to the next field, and past the last one to a new line. What is wrong is told once a field has been left, not while it
// is typed.
import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'

import { briefMoney, quantity, signedQuantity } from '../../format.ts'
import { closing, type Fault, type Field, isEmpty, type Line, type Read, readSymbol } from '../../store/trades.ts'
import { Element } from '../element.ts'
import type { Draft } from './whatif_draft.ts'

export interface Holding {
  symbol: string
  quantity: number
  marketValue: number | null
}

const POINTER = ['pointerdown', 'pointerup', 'pointercancel'] as const
const ALWAYS = { attribute: false, hasChanged: () => true }

/** Tells `edited` whenever a line is another one. */
export class TradeLines extends Element {
  static override properties = {
    ...Element.properties,
    draft: ALWAYS,
    read: ALWAYS,
    holdings: ALWAYS,
    symbols: ALWAYS,
  }
  declare draft: Draft
  declare read: Read
  /** By symbol; null while it is not known what is held. */
  declare holdings: ReadonlyMap<string, Holding> | null
  /** All that can be named, held or not. */
  declare symbols: readonly string[]
  private readonly left = new Set<string>()
  private pressing = false
  private readonly press = (event: Event): void => {
    this.pressing = event.type === 'pointerdown'
  }

  override connectedCallback(): void {
    super.connectedCallback()
    for (const type of POINTER) document.addEventListener(type, this.press, true)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    for (const type of POINTER) document.removeEventListener(type, this.press, true)
  }

  /** Tell all that is wrong, and go to the first of it. */
  reveal(): void {
    const [first] = this.read.faults
    for (const { key, field } of this.read.faults) this.left.add(idOf(key, field))
    this.requestUpdate()
    if (first) this.focusField(first.key, first.field)
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    // Lines of another draft have not been left yet, whatever their keys.
    if (changed.has('draft') && changed.get('draft') !== this.draft) this.left.clear()
  }

  protected override render(): TemplateResult {
    const { lines } = this.draft
    return html`<form class="trades" @submit=${(event: Event) => event.preventDefault()}>
      <div class="trade trade-head" aria-hidden="true"><span>Symbol</span><span>Change of quantity</span></div>
      ${repeat(
        lines,
        (line) => line.key,
        (line, place) => this.line(line, place),
      )}
      <p><button type="button" class="button" @click=${() => this.add()}>Add a trade</button></p>
      <datalist id="what-if-symbols">${this.symbols.map((symbol) => html`<option value=${symbol}></option>`)}</datalist>
    </form>`
  }

  private line(line: Line, place: number): TemplateResult {
    const faults = this.read.faults.filter(({ key, field }) => key === line.key && this.left.has(idOf(key, field)))
    return html`<fieldset class="trade">
      <legend class="unseen">Trade ${place + 1}</legend>
      ${this.input(line, 'symbol', 'Symbol', faults)} ${this.input(line, 'quantity', 'Change of quantity, negative to sell', faults)}
      <span class="trade-buttons">${this.quick(line)}
        <button type="button" class="button" @click=${() => this.removeLine(line, place)}
          aria-label="Remove trade ${place + 1}">Remove</button></span>
      ${faults.map(({ field, reason }) => html`<p class="fault" id="${idOf(line.key, field)}-fault">${reason}</p>`)}
      ${this.note(line)}
    </fieldset>`
  }

  private input(line: Line, field: Field, label: string, faults: readonly Fault[]): TemplateResult {
    const id = idOf(line.key, field)
    const faulty = faults.some((fault) => fault.field === field)
    return html`<input type="text" id=${id} aria-label=${label} autocomplete="off" spellcheck="false"
      autocapitalize=${field === 'symbol' ? 'characters' : 'off'} list=${field === 'symbol' ? 'what-if-symbols' : nothing}
      placeholder=${field === 'symbol' ? 'AAPL' : '−100'} .value=${line[field]}
      aria-invalid=${faulty} aria-describedby=${faulty ? `${id}-fault` : nothing}
      @input=${(event: InputEvent) => this.edit(line, field, (event.target as HTMLInputElement).value)}
      @change=${() => this.leave(line, field)}
      @keydown=${(event: KeyboardEvent) => this.onKey(event, line, field)}>`
  }

  /** Half of what is held, or all of it; a short position is closed by buying. */
  private quick(line: Line): TemplateResult | typeof nothing {
    const holding = this.held(line)
    if (!holding?.quantity) return nothing
    const [half, all] = holding.quantity > 0 ? ['Sell half', 'Sell all'] : ['Close half', 'Close']
    return html`<button type="button" class="button" @click=${() => this.edit(line, 'quantity', closing(holding.quantity, 'half'))}
        aria-label="${half} of ${holding.symbol}">${half}</button>
      <button type="button" class="button" @click=${() => this.edit(line, 'quantity', closing(holding.quantity, 'all'))}
        aria-label="${all} of ${holding.symbol}">${all}</button>`
  }

  /** What is held now, and what all the trades of that symbol would leave of it. */
  private note(line: Line): TemplateResult | typeof nothing {
    const symbol = readSymbol(line.symbol, this.symbols)
    if (typeof symbol !== 'string' || !this.holdings) return nothing
    const holding = this.holdings.get(symbol)
    const held = holding?.quantity ?? 0
    const change = this.read.trades.find((trade) => trade.symbol === symbol)?.quantity ?? 0
    return html`<p class="note">${
      holding ? html`${quantity(held)} held, ${briefMoney(holding.marketValue)}` : 'none held'
    }${change ? html`; ${quantity(held + change)} after ${signedQuantity(change)}${held + change < 0 ? ', a short position' : ''}` : nothing}</p>`
  }

  private held(line: Line): Holding | undefined {
    const symbol = readSymbol(line.symbol, this.symbols)
    return typeof symbol === 'string' ? this.holdings?.get(symbol) : undefined
  }

  private edit(line: Line, field: Field, typed: string): void {
    line[field] = typed
    this.edited()
  }

  private leave(line: Line, field: Field): void {
    const tell = (): void => {
      this.left.add(idOf(line.key, field))
      this.requestUpdate()
    }
    // A field is left by pressing a button below it. What is told here would push that one away before it is clicked.
    if (this.pressing) document.addEventListener('pointerup', () => setTimeout(tell), { once: true })
    else tell()
  }

  private add(): void {
    this.focusField(this.draft.add().key, 'symbol')
    this.edited()
  }

  private removeLine(line: Line, place: number): void {
    this.draft.remove(line.key)
    const { lines } = this.draft
    this.focusField((lines[Math.min(place, lines.length - 1)] as Line).key, 'symbol')
    this.edited()
  }

  private onKey(event: KeyboardEvent, line: Line, field: Field): void {
    if (event.key !== 'Enter') return
    event.preventDefault()
    this.leave(line, field)
    if (field === 'symbol') {
      this.focusField(line.key, 'quantity')
      return
    }
    const next = this.draft.lines[this.draft.lines.indexOf(line) + 1]
    if (next) this.focusField(next.key, 'symbol')
    else if (!isEmpty(line)) this.add()
  }

  private focusField(key: number, field: Field): void {
    this.requestUpdate()
    void this.updateComplete.then(() => this.querySelector<HTMLElement>(`#${idOf(key, field)}`)?.focus())
  }

  private edited(): void {
    this.dispatchEvent(new CustomEvent('edited'))
  }
}

function idOf(key: number, field: Field): string {
  return `trade-${key}-${field}`
}

customElements.define('trade-lines', TradeLines)
