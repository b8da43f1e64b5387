// One portfolio, followed while its element is shown: all its measures at their newest, and its history growing behind
// them. However fast they come, they are shown four times a second at most; while the page is paused they are kept and
// shown when it goes on.
import type { ReactiveController } from 'lit'

import type { ApiError } from '../../api/client.ts'
import { FollowPortfolioDocument, type MeasuresFragment, RiskHistoryDocument } from '../../api/operations.ts'
import { History, type Point } from '../../store/history.ts'
import { type Asked, type Element, Polled } from '../element.ts'

const SHOWN_EVERY_MS = 250
const AGAIN_MS = 5000
/** The server keeps a point a minute: asked for as often, a gap that a lost connection left is filled within one. */
const HISTORY_EVERY_MS = 60_000

export class LiveRisk implements ReactiveController, Asked<MeasuresFragment> {
  data: MeasuresFragment | null = null
  error: ApiError | null = null
  atMs = 0
  /** What is drawn: the history as it was when it was last shown. */
  points: readonly Point[] = []
  /** The portfolio is no more; `data` is its last. */
  closed = false
  /** Of the points that the server keeps. */
  readonly kept: Polled<true>
  private newest: MeasuresFragment | null = null
  private history = new History()
  private portfolioId = ''
  private stop: (() => void) | null = null
  private showing: ReturnType<typeof setTimeout> | undefined
  private again: ReturnType<typeof setTimeout> | undefined
  private readonly host: Element

  constructor(host: Element) {
    this.host = host
    host.addController(this)
    this.kept = new Polled(
      host,
      () => host.model.link.portfolioId,
      (signal) => this.preload(signal),
      HISTORY_EVERY_MS,
    )
  }

  hostUpdate(): void {
    const { portfolioId } = this.host.model.link
    if (portfolioId === this.portfolioId) {
      if (this.newest !== this.data && !this.host.model.paused) this.soon()
      return
    }
    this.end()
    this.portfolioId = portfolioId
    this.follow()
  }

  hostDisconnected(): void {
    this.end()
  }

  private follow(): void {
    const { portfolioId } = this
    if (!portfolioId) return
    this.stop = this.host.model.client.follow(
      FollowPortfolioDocument,
      { portfolioId },
      {
        next: ({ portfolioRisk: { reason, risk } }) => {
          this.closed = reason === 'CLOSED'
          this.newest = risk
          this.history.add(pointOf(risk))
          if (reason === 'RESYNC') void this.kept.again()
          this.soon()
        },
        failed: (error) => {
          this.error = error
          this.host.requestUpdate()
          // The server ended it, and nothing would begin it again; who is refused waits for another token.
          if (!error.wantsSignIn) this.again = setTimeout(() => this.follow(), AGAIN_MS)
        },
      },
    )
  }

  private async preload(signal: AbortSignal): Promise<true> {
    const { client, link } = this.host.model
    const { riskHistory } = await client.ask(RiskHistoryDocument, { portfolioId: link.portfolioId }, signal)
    this.history.preload(riskHistory.map(pointOf))
    // While nothing of a portfolio is drawn there is nothing to hold still.
    if (!this.host.model.paused || this.points.length < 2) this.points = this.history.all
    return true
  }

  /** Show what is newest, a quarter of a second after it was last asked for. */
  private soon(): void {
    if (this.showing !== undefined) return
    const wait = this.data ? SHOWN_EVERY_MS : 0
    this.showing = setTimeout(() => {
      this.showing = undefined
      if (this.host.model.paused && this.data) return
      this.data = this.newest
      this.error = null
      this.atMs = Date.now()
      this.points = this.history.all
      this.host.requestUpdate()
    }, wait)
  }

  private end(): void {
    this.stop?.()
    clearTimeout(this.showing)
    clearTimeout(this.again)
    this.showing = undefined
    this.portfolioId = ''
    this.data = this.newest = this.error = null
    this.points = []
    this.history = new History()
    this.closed = false
  }
}

function pointOf(risk: {
  sequence: string
  asOf: string
  riskNumber: number | null
  var95: number
  marketValue: number
}): Point {
  const { sequence, riskNumber, var95, marketValue } = risk
  return { sequence, atMs: Date.parse(risk.asOf), riskNumber, var95, marketValue }
}
