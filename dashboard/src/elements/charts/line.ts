// A line over time. To the eye a plot, with the value under the pointer, or the newest, above it; to everybody else a
// picture whose label says what the line did. The numbers themselves stand in a table beside it: that is its user's part.
import { html, LitElement, type PropertyValues, type TemplateResult } from 'lit'
import type uPlot from 'uplot'

import { time } from '../../format.ts'
import type { Range } from '../../store/history.ts'

export interface Line {
  /** What is drawn. */
  name: string
  /** What the line did, in words. */
  label: string
  seconds: readonly number[]
  values: readonly (number | null)[]
  across: Range
  up: Range
  /** A value of it, written. */
  written(value: number | null | undefined): string
  /** The ticks of its axis, written. */
  ticks(ticks: readonly number[]): string[]
}

export class LineChart extends LitElement {
  static override properties = { line: { attribute: false } }
  declare line: Line
  private library: typeof import('./plot.ts') | null = null
  private failed = false
  private drawn: uPlot | null = null
  private pointed: number | null = null
  private readonly resized = new ResizeObserver(() => this.fit())
  private readonly themed = new MutationObserver(() => this.rebuild())

  protected override createRenderRoot(): HTMLElement {
    return this
  }

  override connectedCallback(): void {
    super.connectedCallback()
    this.themed.observe(document.documentElement, { attributeFilter: ['data-theme'] })
    this.resized.observe(this)
    void this.load()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.themed.disconnect()
    this.resized.disconnect()
    this.drawn?.destroy()
    this.drawn = null
  }

  protected override render(): TemplateResult {
    const { line } = this
    const index = this.pointed ?? line.seconds.length - 1
    const second = line.seconds[index]
    return html`
      <p class="reading" aria-hidden="true">
        <span>${line.name}</span> <strong>${line.written(line.values[index])}</strong>
        <span>${second === undefined ? '' : time(second * 1000)}</span>
      </p>
      <div class="plot" role="img" aria-label=${line.label}></div>
      ${this.failed ? html`<p class="problem" role="alert">The chart could not be loaded. Its numbers are in the table below.</p>` : ''}
    `
  }

  protected override updated(changed: PropertyValues): void {
    if (!changed.has('line')) return
    if (this.drawn && this.library) this.drawn.setData(this.library.data(this.line))
    else this.rebuild()
  }

  private async load(): Promise<void> {
    try {
      this.library ??= await import('./plot.ts')
      this.failed = false
    } catch {
      this.failed = true
    }
    this.requestUpdate()
    await this.updateComplete
    this.rebuild()
  }

  /** Draw anew: first of all, and in other colours. */
  private rebuild(): void {
    const into = this.querySelector<HTMLElement>('.plot')
    if (!this.library || !into || !this.isConnected) return
    this.drawn?.destroy()
    this.pointed = null
    this.drawn = this.library.plot(
      into,
      () => this.line,
      (index) => this.point(index),
    )
  }

  private point(index: number | null): void {
    if (index === this.pointed) return
    this.pointed = index
    this.requestUpdate()
  }

  private fit(): void {
    const into = this.querySelector<HTMLElement>('.plot')
    if (this.drawn && this.library && into) this.library.fit(this.drawn, into)
  }
}

customElements.define('line-chart', LineChart)
