// What the page knows and does, without a word of how it looks: elements read it, call it and are told when to look again.
import { ApiClient, ApiError, type ConnectionState } from '../api/client.ts'
import { AdvisorRiskDocument, type AdvisorRiskQuery, FirmDocument, type FirmQuery } from '../api/operations.ts'
import { portfoliosOf } from '../api/portfolios.ts'
import { setToken, token } from '../api/token.ts'
import { Book, type Row } from './book.ts'
import { csv } from './csv.ts'
import { Feed } from './feed.ts'
import { type Link, readLink, writeLink } from './link.ts'
import { ServerClock } from './server_clock.ts'
import { followTheme, switchTheme } from './theme.ts'
import { type Filter, type Sort, View } from './view.ts'

const POLL_MS = 2000
const LOOK_MS = 250
/** Browsers refuse an address that is written for every step of a slider: Safari after a hundred within half a minute. */
const ADDRESS_MS = 350

/** What an element is told: rows of the table changed, or anything else did. */
export type Heard = 'rows' | 'state'

export class Model {
  readonly book = new Book(() => performance.now())
  readonly view = new View(this.book)
  readonly client: ApiClient
  readonly feed: Feed
  link: Link = readLink(location.hash)
  connection: ConnectionState = 'connecting'
  roundTripMs: number | null = null
  /** From a calculation to its arrival here: of the row that waited longest in the newest batch. */
  lagMs: number | null = null
  updatesPerSecond = 0
  paused = false
  firm: FirmQuery | null = null
  firmError: ApiError | null = null
  /** The advisor who is chosen in the filter, when there is one. */
  advisor: AdvisorRiskQuery['advisor'] = null
  advisorError: ApiError | null = null
  /** Why the viewer has to sign in; null where nobody has to. */
  signIn: string | null = null
  /** Grows with each viewer: what elements know of the one before is not for the next. */
  viewer = 0
  private readonly clock = new ServerClock()
  private readonly listeners = new Set<(heard: Heard) => void>()
  private frame = 0
  private looked = 0
  private counted = { updates: 0, atMs: performance.now() }
  private writing: ReturnType<typeof setTimeout> | undefined
  private wroteMs = 0
  private polling: AbortController | null = null
  private askingAdvisor: AbortController | null = null

  constructor() {
    this.client = new ApiClient(
      location,
      {
        dated: (date, sentMs, receivedMs) => this.clock.note(date, sentMs, receivedMs),
        connection: (state) => this.connected(state),
        roundTrip: (milliseconds) => this.timed(milliseconds),
        refused: (reason) => this.refused(reason),
      },
      token,
    )
    this.feed = new Feed(portfoliosOf(this.client), this.book, {
      changed: () => this.schedule(),
      arrived: (calculatedMs) => {
        if (!this.paused) this.lagMs = Math.max(0, Date.now() + this.clock.offsetMs - calculatedMs)
      },
      forbidden: (reason) => this.refused(reason),
    })
  }

  /** Begin to follow, and to tell. */
  start(): void {
    followTheme(() => this.tell('state'))
    addEventListener('hashchange', () => {
      clearTimeout(this.writing)
      this.writing = undefined
      this.follow(readLink(location.hash))
    })
    this.view.choose(this.link.filter, this.link.sort)
    this.feed.start()
    void this.poll()
    setInterval(() => void this.poll(), POLL_MS)
    setInterval(() => this.measure(), 1000)
  }

  /** Be told, until the returned function is called. */
  watch(listener: (heard: Heard) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Whether what is shown may not be the present: no connection, or no engine behind it. */
  get stale(): boolean {
    return this.connection !== 'live' || this.feed.stale
  }

  get selected(): Row | undefined {
    return this.view.known.get(this.link.portfolioId)
  }

  filter(change: Partial<Filter>): void {
    this.show({ filter: { ...this.link.filter, ...change } })
  }

  sort(sort: Sort): void {
    this.show({ sort })
  }

  /** Show something else, and have the address say so. Opening and closing details can be undone by going back. */
  show(change: Partial<Link>): void {
    const link = { ...this.link, ...change }
    if (link.portfolioId !== this.link.portfolioId) {
      this.writeAddress()
      history.pushState(null, '', addressOf(link))
    } else this.writeSoon()
    this.follow(link)
  }

  /** Write the address: once this task is done, or as soon as may be after it was last written. */
  private writeSoon(): void {
    const wait = Math.max(0, this.wroteMs + ADDRESS_MS - performance.now())
    this.writing ??= setTimeout(() => this.writeAddress(), wait)
  }

  private writeAddress(): void {
    if (this.writing === undefined) return
    clearTimeout(this.writing)
    this.writing = undefined
    this.wroteMs = performance.now()
    history.replaceState(null, '', addressOf(this.link))
  }

  /** Stand still, or go on. What comes meanwhile is taken in and shown afterwards. */
  pause(paused: boolean): void {
    this.paused = paused
    if (paused) this.view.freeze()
    else this.view.thaw()
    this.tell('rows')
    this.tell('state')
  }

  hold(held: boolean): void {
    if (held === this.view.held) return
    this.view.hold(held)
    this.tell('rows')
  }

  switchTheme(): void {
    switchTheme()
    this.tell('state')
  }

  /** What is shown, as CSV. */
  csv(): string {
    return csv(this.view.rows)
  }

  /** Go on as the bearer of another token; as nobody, where it is empty. What another one saw goes first. */
  use(given: string): void {
    setToken(given)
    this.viewer += 1
    this.signIn = null
    this.forget()
    this.feed.restart()
    // What was left of one's own will is not lost.
    this.connection = 'connecting'
    void this.poll()
    this.tell('rows')
    this.tell('state')
  }

  /** Know nothing that was told to the viewer so far, nor what is on its way to them. */
  private forget(): void {
    this.polling?.abort()
    this.polling = null
    this.firm = this.firmError = null
    this.askingAdvisor?.abort()
    this.advisor = this.advisorError = null
    this.book.clear()
    this.paused = false
    this.view.thaw()
  }

  private refused(reason: string): void {
    this.signIn = reason
    this.feed.leave()
    this.forget()
    this.tell('rows')
    this.tell('state')
  }

  private follow(link: Link): void {
    const advisorChanged = link.filter.advisorId !== this.link.filter.advisorId
    this.link = link
    this.view.choose(link.filter, link.sort)
    if (advisorChanged) {
      this.advisor = null
      this.advisorError = null
      void this.pollAdvisor()
    }
    this.tell('rows')
    // A tab shows another portfolio at once, paused or not.
    this.tell('state')
  }

  private connected(state: ConnectionState): void {
    this.connection = state
    if (state !== 'live') {
      this.lagMs = null
      this.roundTripMs = null
      this.updatesPerSecond = 0
    }
    this.tell('state')
  }

  private timed(milliseconds: number): void {
    if (this.paused) return
    this.roundTripMs = milliseconds
    this.tell('state')
  }

  /** Catch up with the book at the next frame; once, however much came before it. */
  private schedule(): void {
    if (this.frame || this.paused) return
    this.frame = requestAnimationFrame((now) => {
      this.frame = 0
      // Pausing must stop everything that moves by itself, what was scheduled before it too.
      if (this.paused) return
      const rows = this.view.refresh()
      if (rows || now - this.looked > LOOK_MS) {
        this.looked = now
        this.tell('rows')
      }
    })
  }

  private tell(heard: Heard): void {
    for (const listener of this.listeners) listener(heard)
  }

  private measure(): void {
    const now = performance.now()
    const passed = (now - this.counted.atMs) / 1000
    const perSecond = this.connection === 'live' ? (this.book.updates - this.counted.updates) / passed : 0
    this.counted = { updates: this.book.updates, atMs: now }
    if (this.paused) return
    this.updatesPerSecond = perSecond
    this.tell('state')
  }

  /** Ask for the totals; once at a time, however long the answer takes. */
  private async poll(): Promise<void> {
    if (this.polling || document.hidden || this.signIn !== null || this.paused) return
    const polling = new AbortController()
    this.polling = polling
    await this.pollFirm(polling.signal)
    if (!polling.signal.aborted && !this.paused) await this.pollAdvisor()
    if (this.polling === polling) this.polling = null
  }

  private async pollFirm(signal: AbortSignal): Promise<void> {
    try {
      const firm = await this.client.ask(FirmDocument, {}, signal)
      // Whoever asked is gone, or wants nothing to move.
      if (signal.aborted || this.paused) return
      this.firm = firm
      this.firmError = null
    } catch (failed) {
      if (signal.aborted) return
      this.firmError = ApiError.of(failed)
    }
    this.tell('state')
  }

  private async pollAdvisor(): Promise<void> {
    this.askingAdvisor?.abort()
    const { advisorId } = this.link.filter
    if (!advisorId || this.signIn !== null) return
    const asking = new AbortController()
    const { signal } = asking
    this.askingAdvisor = asking
    try {
      const { advisor } = await this.client.ask(AdvisorRiskDocument, { advisorId }, signal)
      if (signal.aborted) return
      this.advisor = advisor
      this.advisorError = advisor ? null : new ApiError(`advisor ${advisorId} has no portfolios`, 'NOT_FOUND')
    } catch (failed) {
      if (signal.aborted) return
      this.advisorError = ApiError.of(failed)
    }
    this.tell('state')
  }
}

function addressOf(link: Link): string {
  return location.pathname + location.search + writeLink(link)
}
