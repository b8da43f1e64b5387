// What a viewer is about to trade, kept while they look at something else: by portfolio, for this visit, and for nobody
// but themselves. Not in the address, and not on the machine.
import type { Line } from '../../store/trades.ts'
import type { Sending } from './whatif_sending.ts'

/** Portfolios whose drafts are kept; the one looked at longest ago gives way. */
export const DRAFTS_MAX = 50

export class Draft {
  lines: Line[] = []
  /** What became of what was sent last. */
  sending: Sending | null = null
  private next = 0

  constructor() {
    this.add()
  }

  /** Another line, at the end. */
  add(symbol = '', quantity = ''): Line {
    const line = { key: this.next, symbol, quantity }
    this.next += 1
    this.lines.push(line)
    return line
  }

  /** Without this line; there is always one left to type in. */
  remove(key: number): void {
    this.lines = this.lines.filter((line) => line.key !== key)
    if (!this.lines.length) this.add()
  }

  /** Nothing is typed any more. */
  clear(): void {
    this.lines = []
    this.add()
  }
}

export class Drafts {
  private bearer = ''
  private readonly kept = new Map<string, Draft>()

  /** The draft of a portfolio, as the bearer of a token has it. Somebody else's are forgotten. */
  of(bearer: string, portfolioId: string): Draft {
    if (bearer !== this.bearer) this.kept.clear()
    this.bearer = bearer
    const draft = this.kept.get(portfolioId) ?? new Draft()
    this.kept.delete(portfolioId)
    this.kept.set(portfolioId, draft)
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= DRAFTS_MAX) break
      this.kept.delete(oldest)
    }
    return draft
  }
}
