// What our elements have in common. They render into the document itself and not into shadow trees: one style sheet,
// one set of ids for labels, and nothing between a screen reader and the text.
import { LitElement, type ReactiveController } from 'lit'
import { ApiError } from '../api/client.ts'
import type { Heard, Model } from '../store/model.ts'

export abstract class Element extends LitElement {
  static override properties = { model: { attribute: false } }
  declare model: Model

  protected override createRenderRoot(): HTMLElement {
    return this
  }
}

/** Has its element rendered again whenever the model tells of something. */
export class Watching implements ReactiveController {
  private stop: (() => void) | undefined
  private readonly host: Element
  private readonly hears: (heard: Heard) => boolean

  constructor(host: Element, hears: (heard: Heard) => boolean = () => true) {
    this.host = host
    this.hears = hears
    host.addController(this)
  }

  hostConnected(): void {
    this.stop = this.host.model.watch((heard) => {
      if (this.hears(heard)) this.host.requestUpdate()
    })
  }

  hostDisconnected(): void {
    this.stop?.()
  }
}

/** What was asked, and what became of it: nothing yet, an answer, or an error beside the last answer. */
export interface Asked<Result> {
  data: Result | null
  error: ApiError | null
  /** When `data` was answered, by the page's clock. */
  atMs: number
}

/**
 * Asks for something while its element is shown: at once, when `key` changes, and again every `everyMs`, except while
 * the viewer has paused the page or does not look at it, or an answer is still on its way. With `Infinity` it asks again
 * only when told to. An answer to an older key is dropped.
 */
export class Polled<Result> implements ReactiveController, Asked<Result> {
  data: Result | null = null
  error: ApiError | null = null
  atMs = 0
  private key: string | null = null
  private timer: ReturnType<typeof setInterval> | undefined
  private asking: AbortController | null = null
  private waiting = false
  private readonly host: Element
  private readonly ask: (signal: AbortSignal) => Promise<Result>
  private readonly keyOf: () => string
  private readonly everyMs: number

  constructor(host: Element, keyOf: () => string, ask: (signal: AbortSignal) => Promise<Result>, everyMs = 5000) {
    this.host = host
    this.keyOf = keyOf
    this.ask = ask
    this.everyMs = everyMs
    host.addController(this)
  }

  hostConnected(): void {
    // Browsers take an endless interval for none at all.
    if (!Number.isFinite(this.everyMs)) return
    this.timer = setInterval(() => {
      // On a slow connection, taking back a question to ask it again would mean never to hear the answer.
      if (this.waiting || document.hidden || this.host.model.signIn !== null) return
      if (!this.host.model.paused) void this.request(true)
    }, this.everyMs)
  }

  hostDisconnected(): void {
    clearInterval(this.timer)
    this.asking?.abort()
    this.key = null
  }

  hostUpdate(): void {
    const key = this.keyOf()
    if (key === this.key) return
    this.key = key
    this.data = null
    this.error = null
    void this.again()
  }

  /** Ask now. */
  again(): Promise<void> {
    return this.request(false)
  }

  /** Ask; where it is `byItself`, the page may have been paused when the answer comes, and then nothing moves. */
  private async request(byItself: boolean): Promise<void> {
    this.asking?.abort()
    const asking = new AbortController()
    this.asking = asking
    this.waiting = true
    try {
      const data = await this.ask(asking.signal)
      if (asking.signal.aborted) return
      this.waiting = false
      if (byItself && this.host.model.paused) return
      this.data = data
      this.error = null
      this.atMs = Date.now()
    } catch (failed) {
      if (asking.signal.aborted) return
      this.waiting = false
      this.error = ApiError.of(failed)
    }
    this.host.requestUpdate()
  }
}
