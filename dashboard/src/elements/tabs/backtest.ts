// How the portfolio's value at risk has done: as the engine has counted since it first saw the portfolio, and the
// portfolio of now rolled through past sessions. The latter takes the server a while, so it is asked for once, and again
// when somebody wants to know.
import { html, nothing, type TemplateResult } from 'lit'

import {
  BacktestDocument,
  type BacktestQuery,
  type BacktestZone,
  type LevelFragment,
  type RatioFragment,
} from '../../api/operations.ts'
import { count, decimal, percent, session, time } from '../../format.ts'
import { Element, Polled, Watching } from '../element.ts'
import { asked, tile } from '../parts.ts'
import { exceptions } from './backtest_chart.ts'
import { coverage, depth, type Verdict, verdict, ZONES } from './backtest_words.ts'
import { choice } from './choice.ts'

type Backtest = BacktestQuery['backtest']
type Live = NonNullable<Backtest['live']>
type Rolling = NonNullable<Backtest['rolling']>
type Drawn = 'var95' | 'var99'

const NAMES: Record<Drawn, string> = { var95: 'VaR 95%', var99: 'VaR 99%' }
const CHOICES = [
  { value: 'var95', name: 'VaR 95%' },
  { value: 'var99', name: 'VaR 99%' },
] as const
const LIGHT_SESSIONS = 250

export class BacktestTab extends Element {
  private drawn: Drawn = 'var95'
  private asking = 0
  private readonly backtest = new Polled(
    this,
    () => this.model.link.portfolioId,
    (signal) => this.ask(signal),
    Number.POSITIVE_INFINITY,
  )

  constructor() {
    super()
    new Watching(this, (heard) => heard === 'state')
  }

  protected override render(): TemplateResult {
    const { data, error, atMs } = this.backtest
    return html`<section class="backtest" aria-label="Backtest" aria-busy=${this.asking > 0}>
      <p class="asked-at">
        <span class="note" role="status">${this.asking ? computing(data !== null) : data ? `As of ${time(atMs)}; it does not follow the market.` : nothing}</span>
        <button type="button" class="button" ?disabled=${this.asking > 0} @click=${() => void this.backtest.again()}>${error && !data ? 'Try again' : 'Again'}</button>
      </p>
      ${this.asking && !data ? nothing : asked(this.backtest, (answer) => this.answered(answer), 'Backtest')}
    </section>`
  }

  private async ask(signal: AbortSignal): Promise<Backtest> {
    this.asking += 1
    this.requestUpdate()
    try {
      const { portfolioId } = this.model.link
      return (await this.model.client.ask(BacktestDocument, { portfolioId }, signal)).backtest
    } finally {
      this.asking -= 1
      this.requestUpdate()
    }
  }

  private answered({ live, rolling, noRollingReason }: Backtest): TemplateResult {
    return html`<h3>Live record</h3>
      ${live ? record(live) : html`<p class="says">No session has been judged yet: the first is the one after the engine first sees the portfolio at a close.</p>`}
      <h3>Rolled through past sessions</h3>
      ${rolling ? this.rolled(rolling) : html`<p class="says">There is none. ${noRollingReason}</p>`}`
  }

  private rolled(rolling: Rolling): TemplateResult {
    const { drawn } = this
    return html`<p class="says quiet">Hypothetical: the portfolio as it is now, by weight, through ${count(rolling.days)} sessions from
        ${session(rolling.firstSession)} to ${session(rolling.lastSession)}, each judged by the ${count(rolling.window)} before it;
        ${rolling.method.replaceAll('_', ' ')}.</p>
      ${verdicts(rolling)}
      <div class="choices">${choice('Exceptions of', CHOICES, drawn, (chosen) => this.draw(chosen))}</div>
      ${exceptions(rolling[drawn], NAMES[drawn], rolling.firstSession, rolling.lastSession)}`
  }

  private draw(drawn: Drawn): void {
    this.drawn = drawn
    this.requestUpdate()
  }
}

function computing(again: boolean): TemplateResult {
  return html`<progress aria-label="Computing the backtest"></progress> Computing${again ? ' again' : ''}… every past session is
    valued anew. It takes up to some seconds, and longer while others wait for theirs.`
}

/** What the engine counted at each close. */
function record(live: Live): TemplateResult {
  const expected = (fraction: number) =>
    `${decimal(fraction * live.sessions, fraction * live.sessions < 1 ? 2 : 1)} expected`
  return html`<dl class="tiles">
      ${tile('Sessions judged', count(live.sessions), live.firstSession === live.lastSession ? session(live.firstSession) : `${session(live.firstSession)} to ${session(live.lastSession)}`)}
      ${tile('Exceptions at 95%', count(live.exceptions95), expected(0.05))}
      ${tile('Exceptions at 99%', count(live.exceptions99), expected(0.01))}
      ${tile(`Of the last ${count(live.recentSessions)}`, `${count(live.recentExceptions95)} and ${count(live.recentExceptions99)}`, 'at 95% and 99%')}
    </dl>
    <p class="says">Kupiec at 95%: ${inWords(coverage(live.kupiec95, live.exceptions95, 0.05 * live.sessions))};
      at 99%: ${inWords(coverage(live.kupiec99, live.exceptions99, 0.01 * live.sessions))}.</p>
    ${lamp(live.zone, `It needs ${LIGHT_SESSIONS} sessions, and there are ${count(live.recentSessions)}: in fewer, an exception proves little.`)}`
}

function verdicts({ var95, var99, z2, z2Rejected }: Rolling): TemplateResult {
  const both = (of: (level: LevelFragment) => unknown) => html`<td>${of(var95)}</td><td>${of(var99)}</td>`
  const tested = (of: (level: LevelFragment) => RatioFragment) => both((level) => cell(verdict(of(level))))
  return html`<table class="verdicts">
      <caption>Is value at risk right? Each test at 5%</caption>
      <thead><tr><th scope="col">Test</th><th scope="col">VaR 95%</th><th scope="col">VaR 99%</th></tr></thead>
      <tbody>
        <tr><th scope="row">Exceptions<span class="under">of ${count(var95.days)} sessions</span></th>
          ${both((level) => html`${count(level.exceptions)}<span class="under">${percent(level.days ? level.exceptions / level.days : null)}</span>`)}</tr>
        <tr><th scope="row">Expected<span class="under">of a right model</span></th>
          ${both((level) => html`${decimal(level.expectedExceptions, 1)}<span class="under">${percent(level.days ? level.expectedExceptions / level.days : null)}</span>`)}</tr>
        <tr><th scope="row">Kupiec<span class="under">as many as there should be</span></th>
          ${both((level) => cell(coverage(level.kupiec, level.exceptions, level.expectedExceptions)))}</tr>
        <tr><th scope="row">Independence<span class="under">one does not bring another</span></th>${tested((level) => level.independence)}</tr>
        <tr><th scope="row">Conditional coverage<span class="under">both at once</span></th>${tested((level) => level.conditionalCoverage)}</tr>
      </tbody>
    </table>
    ${lamp(var99.zone, `It needs ${LIGHT_SESSIONS} sessions, and there are ${count(var99.days)}.`)}
    <p class="says">Expected shortfall at 97.5%, Acerbi–Székely: ${inWords(depth(z2, z2Rejected))}. A right model has a Z2 of 0.</p>`
}

function cell({ words, probability, rejected }: Verdict): TemplateResult {
  return html`<span class=${rejected ? 'worse' : ''}>${words}</span><span class="under">${probability}</span>`
}

function inWords({ words, probability, rejected }: Verdict): TemplateResult {
  return html`<strong class=${rejected ? 'worse' : ''}>${words}</strong> (${probability})`
}

/** Basel's traffic light; `none` says why it is out. */
function lamp(zone: BacktestZone | null, none: string): TemplateResult {
  const { name, means } = zone ? ZONES[zone] : { name: 'Out', means: none }
  return html`<p class="light">
    <span class="lamp lamp-${(zone ?? 'out').toLowerCase()}" aria-hidden="true"></span>
    <span>Basel traffic light: <strong>${name}</strong><span class="under">${zone ? `${means}; 99%, last ${LIGHT_SESSIONS} sessions` : means}</span></span>
  </p>`
}

customElements.define('backtest-tab', BacktestTab)
