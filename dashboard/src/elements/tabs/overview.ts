// How risky the portfolio has been and is: a line that grows as one looks on, what stands behind its value at risk, how it
// suits its client, and every measure there is.
import { html, nothing, type TemplateResult } from 'lit'

import type { MeasuresFragment } from '../../api/operations.ts'
import { briefMoney, count, duration, money, percent, session, time } from '../../format.ts'
import { across, byMinute, type Drawn, type Point, summed, up, within } from '../../store/history.ts'
import '../charts/line.ts'
import type { Line } from '../charts/line.ts'
import { told } from '../charts/scale.ts'
import { toleranceScale } from '../charts/tolerance.ts'
import { Element, Watching } from '../element.ts'
import { asked } from '../parts.ts'
import { incomplete, ofValue, proxied } from './caveats.ts'
import { choice } from './choice.ts'
import { LiveRisk } from './live_risk.ts'
import { GROUPS, type Measure } from './measures.ts'

const DRAWN: Record<Drawn, { name: string; written: (value: number | null | undefined) => string }> = {
  riskNumber: { name: 'Risk number', written: count },
  var95: { name: 'VaR 95%', written: money },
  marketValue: { name: 'Market value', written: money },
}
const SPANS = { 0: 'All', 3600000: '1 hour', 900000: '15 min' } as const
type Span = keyof typeof SPANS
const TABLE_ROWS = 60

export class OverviewTab extends Element {
  private readonly live = new LiveRisk(this)
  private drawn: Drawn = 'riskNumber'
  private span: Span = 0
  private tableOpen = false
  private made: { of: string; points: readonly Point[]; line: Line } | null = null

  constructor() {
    super()
    new Watching(this, (heard) => heard === 'state')
  }

  protected override render(): TemplateResult {
    return html`${this.past()}${asked(this.live, (risk) => this.present(risk), 'Measures')}`
  }

  private past(): TemplateResult {
    const { kept, points } = this.live
    const values = points.map((point) => point[this.drawn])
    return html`<section class="history" aria-label="History">
      <div class="choices">
        ${choice('What is drawn', named(DRAWN), this.drawn, (drawn) => this.look(() => (this.drawn = drawn)))}
        ${choice('Of how long', SPAN_CHOICES, this.span, (span) => this.look(() => (this.span = span)))}
      </div>
      ${
        kept.error
          ? html`<p class="problem" role="alert"><strong>The history could not be ${points.length ? 'brought up to date' : 'loaded'}:</strong> ${kept.error.message}</p>`
          : nothing
      }
      ${
        values.some((value) => value !== null)
          ? html`<line-chart .line=${this.line(points)}></line-chart>${this.table(points)}`
          : html`<p class="loading" role="status">${points.length ? 'There is no risk number to draw: the portfolio has no positive value to measure.' : kept.data ? 'No history yet. It begins with the first calculation.' : 'Loading history…'}</p>`
      }
    </section>`
  }

  private look(change: () => void): void {
    change()
    this.requestUpdate()
  }

  /** The line of now; the same one while nothing of it has changed, so that it is not drawn again. */
  private line(points: readonly Point[]): Line {
    const of = `${this.drawn} ${this.span}`
    if (this.made?.of === of && this.made.points === points) return this.made.line
    const line = lineOf(within(points, this.span), this.drawn)
    this.made = { of, points, line }
    return line
  }

  private table(points: readonly Point[]): TemplateResult {
    const rows = this.tableOpen ? byMinute(points).slice(-TABLE_ROWS).reverse() : []
    return html`<details class="as-table" @toggle=${(event: Event) => this.look(() => (this.tableOpen = (event.target as HTMLDetailsElement).open))}>
      <summary>As a table</summary>
      <div class="table-scroll" role="region" aria-label="History as a table" tabindex="0">
        <table>
          <caption>The last value of each minute, the newest first; ${TABLE_ROWS} minutes at most</caption>
          <thead><tr><th scope="col">Time</th><th scope="col">Risk number</th><th scope="col">VaR 95%</th><th scope="col">Market value</th></tr></thead>
          <tbody>${rows.map(
            (point) => html`<tr><th scope="row">${time(point.atMs)}</th><td>${count(point.riskNumber)}</td>
              <td>${money(point.var95)}</td><td>${money(point.marketValue)}</td></tr>`,
          )}</tbody>
        </table>
      </div>
    </details>`
  }

  private present(risk: MeasuresFragment): TemplateResult {
    return html`
      ${this.live.closed ? html`<p class="problem" role="status"><strong>The portfolio was closed.</strong> What is shown is its last.</p>` : nothing}
      ${incomplete(risk.incompleteSymbols)} ${proxied(risk.proxiedSymbols, risk.coverage)}
      <p class="says">${scenarioInWords(risk)}</p>
      ${suits(risk)}
      <div class="measures">${GROUPS.map(
        ({ title, measures }) =>
          html`<section><h3>${title}</h3><dl>${measures.map((measure) => defined(measure, risk))}</dl></section>`,
      )}</div>
    `
  }
}

const SPAN_CHOICES = ([900_000, 3_600_000, 0] as const).map((span) => ({ value: span as Span, name: SPANS[span] }))

function named(drawn: typeof DRAWN): { value: Drawn; name: string }[] {
  return Object.entries(drawn).map(([value, { name }]) => ({ value: value as Drawn, name }))
}

function lineOf(points: readonly Point[], drawn: Drawn): Line {
  const { name, written } = DRAWN[drawn]
  const values = points.map((point) => point[drawn])
  const [from, to] = across(points)
  return {
    name,
    label: lineInWords(name, values, to - (points[0]?.atMs ?? to), written),
    seconds: points.map(({ atMs }) => atMs / 1000),
    values,
    across: [from / 1000, to / 1000],
    up: up(values, drawn),
    written,
    ticks: (ticks) => (drawn === 'riskNumber' ? ticks.map(count) : told(ticks, briefMoney, money)),
  }
}

function lineInWords(
  name: string,
  values: readonly (number | null)[],
  overMs: number,
  written: (value: number) => string,
): string {
  const sum = summed(values)
  if (!sum) return `${name}: not known`
  const { from, to, low, high } = sum
  return `${name} over ${duration(overMs)}: from ${written(from)} to ${written(to)}, never below ${written(low)} or above ${written(high)}`
}

function scenarioInWords(risk: MeasuresFragment): TemplateResult | typeof nothing {
  if (!risk.var95ScenarioDate) return nothing
  const scaled = risk.method === 'filtered_historical' ? ', scaled to how volatile prices are now' : ''
  return html`The VaR of <strong>${money(risk.var95)}</strong>${ofValue(percent(risk.var95Fraction))} is the loss that the price moves
    of <strong>${session(risk.var95ScenarioDate)}</strong> would bring today${scaled}.`
}

function suits(risk: MeasuresFragment): TemplateResult {
  if (risk.riskNumber === null || !risk.alignment) {
    return html`<p class="says">No risk number, and so nothing to compare with the client’s tolerance: the portfolio has no positive value.</p>`
  }
  const words = alignmentInWords(risk.alignment, risk.riskTolerance.toLowerCase())
  return html`<figure class="suits">
    <figcaption>${words}</figcaption>
    ${toleranceScale(
      risk.riskNumber,
      risk.alignment.toleranceNumber,
      `On a scale of 1 to 99: portfolio ${risk.riskNumber}, client ${risk.alignment.toleranceNumber}. ${words}`,
    )}
  </figure>`
}

function alignmentInWords({ gap, verdict }: NonNullable<MeasuresFragment['alignment']>, tolerance: string): string {
  const points = `${Math.abs(gap)} ${Math.abs(gap) === 1 ? 'point' : 'points'}`
  const where = gap === 0 ? 'exactly' : `${points} ${gap > 0 ? 'above' : 'below'}`
  const than = `${where} what this ${tolerance} client asked for`
  if (verdict === 'TOO_RISKY') return `Too risky: ${than}.`
  return verdict === 'TOO_CAUTIOUS' ? `Too cautious: ${than}.` : `Aligned: ${than}.`
}

function defined(measure: Measure, risk: MeasuresFragment): TemplateResult {
  const beside = measure.beside?.(risk)
  return html`<div class=${measure.wide ? 'wide' : ''}>
    <dt>${measure.name} <span class="about">${measure.about}</span></dt>
    <dd>${measure.text(risk)}${beside ? html` <span class="about">${beside}</span>` : nothing}</dd>
  </div>`
}

customElements.define('overview-tab', OverviewTab)
