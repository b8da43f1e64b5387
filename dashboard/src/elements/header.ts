// Who we are, whether what is shown is the present, and what can be done with the page as a whole.
import { html, nothing, type TemplateResult } from 'lit'

import { bearerOf, token } from '../api/token.ts'
import { count, duration, session } from '../format.ts'
import { Element, Watching } from './element.ts'

const STATES = { connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting' } as const

export class PageHeader extends Element {
  constructor() {
    super()
    new Watching(this)
  }

  protected override render(): TemplateResult {
    const { model } = this
    return html`
      <header>
        <div class="top">
          <h1><span class="mark" aria-hidden="true"></span>Plimsoll</h1>
          ${this.state()} ${this.pace()}
          <div class="actions">
            <button type="button" class="button" aria-pressed=${model.paused} @click=${() => model.pause(!model.paused)}>
              ${model.paused ? 'Resume' : 'Pause'}
            </button>
            <button type="button" class="button" @click=${() => this.download()}>Export CSV</button>
            <button type="button" class="button" @click=${() => model.switchTheme()}>Light or dark</button>
            <button type="button" class="button" @click=${() => this.keys()}>Keys</button>
            <a class="button" href="/graphql">GraphiQL</a>
            ${this.bearer()}
          </div>
        </div>
        ${this.replay()}
      </header>
    `
  }

  private state(): TemplateResult {
    const { model } = this
    if (model.signIn !== null)
      return html`<p class="state" role="status"><span class="dot" aria-hidden="true"></span>Signed out</p>`
    const silent = model.connection === 'live' && model.feed.stale
    const name = model.paused ? 'Paused' : silent ? 'Engine silent' : STATES[model.connection]
    const kind = model.paused ? 'paused' : silent ? 'stale' : model.connection
    return html`<p class="state state-${kind}" role="status"><span class="dot" aria-hidden="true"></span>${name}</p>`
  }

  /** Not a live region: a screen reader that read it aloud would never stop. */
  private pace(): TemplateResult {
    const { model } = this
    return html`<dl class="pace">
      <div><dt>Lag</dt><dd title="From a calculation to its arrival here, of the row that waited longest">${duration(model.lagMs)}</dd></div>
      <div><dt>Round trip</dt><dd>${duration(model.roundTripMs)}</dd></div>
      <div><dt>Updates</dt><dd>${count(Math.round(model.updatesPerSecond))}/s</dd></div>
    </dl>`
  }

  private replay(): TemplateResult | typeof nothing {
    const replay = this.model.firm?.systemStatus.replay
    if (!replay) return nothing
    const { sessionSeconds } = replay
    if (sessionSeconds === 0) {
      return html`<p class="replay">
        <strong>Historical prices</strong>, not live ones: they stand still at the close of ${session(replay.session)}
      </p>`
    }
    return html`<p class="replay">
      <strong>Replay of historical prices</strong>, not live ones: session of ${session(replay.session)},
      ${count(Math.round(sessionSeconds))} s a session
    </p>`
  }

  private bearer(): TemplateResult | typeof nothing {
    const held = token()
    if (!held) return nothing
    return html`<button type="button" class="button" @click=${() => this.model.use('')}>Sign out ${bearerOf(held)}</button>`
  }

  private download(): void {
    const address = URL.createObjectURL(new Blob([this.model.csv()], { type: 'text/csv' }))
    const link = document.createElement('a')
    link.href = address
    link.download = 'portfolios.csv'
    link.click()
    URL.revokeObjectURL(address)
  }

  private keys(): void {
    this.dispatchEvent(new CustomEvent('help', { bubbles: true }))
  }
}

customElements.define('page-header', PageHeader)
