// What becomes of trades that are sent: on their way, refused, published, in force. Pure: the time is an argument.
//
// A snapshot's sequence grows with every price as well, so that it grew says nothing. But its leading digits are its
// statement number: one more than the offset of the update that its positions come from (`engine.revalue`). Once they
// are past our record's offset, and past what they were before, the engine values what we sent.
import type { Trade } from '../../store/trades.ts'

/** Digits of a sequence behind its statement number: those of the market's watermark. A test holds it to the engine. */
export const WATERMARK_DIGITS = 15
export const PATIENCE_MS = 15_000

/** Where the update stands. */
export interface Published {
  topic: string
  partition: number
  offset: string
}

/** What is known of a portfolio now. */
export interface Present {
  sequence: string
  calculatedMs: number
  riskNumber: number | null
}

interface Sent {
  portfolioId: string
  trades: readonly Trade[]
}

export type Sending =
  | (Sent & { stage: 'on its way'; sequenceBefore: string })
  | (Sent & { stage: 'refused'; reason: string; field: string | null; certainly: boolean })
  | (Sent & { stage: 'published'; published: Published; sequenceBefore: string; atMs: number; late: boolean })
  | (Sent & { stage: 'in force'; published: Published; sinceMs: number; riskNumber: number | null })

/** Codes of a refusal before anything was done. With any other the trades may have been made all the same. */
const NOTHING_DONE = new Set([
  'BAD_INPUT',
  'BAD_VARIABLES',
  'NOT_FOUND',
  'FORBIDDEN',
  'UNAUTHENTICATED',
  'RATE_LIMITED',
])

export function refused(sending: Sending, reason: string, code: string, field: string | null = null): Sending {
  const { portfolioId, trades } = sending
  return { stage: 'refused', portfolioId, trades, reason, field, certainly: NOTHING_DONE.has(code) }
}

export function published(sending: Sending, at: Published, nowMs: number): Sending {
  const { portfolioId, trades } = sending
  const sequenceBefore = sending.stage === 'on its way' ? sending.sequenceBefore : '0'
  return { stage: 'published', portfolioId, trades, published: at, sequenceBefore, atMs: nowMs, late: false }
}

/** What is known of it now; the same object where that is nothing new. */
export function followed(sending: Sending, present: Present | null, nowMs: number): Sending {
  if (sending.stage !== 'published') return sending
  const { portfolioId, trades, published: at } = sending
  if (present && isApplied(at.offset, sending.sequenceBefore, present.sequence)) {
    const { calculatedMs: sinceMs, riskNumber } = present
    return { stage: 'in force', portfolioId, trades, published: at, sinceMs, riskNumber }
  }
  const late = nowMs - sending.atMs >= PATIENCE_MS
  return late === sending.late ? sending : { ...sending, late }
}

/** Whether a snapshot of `sequence` is of the update at `offset`, where one of `sequenceBefore` was not. */
function isApplied(offset: string, sequenceBefore: string, sequence: string): boolean {
  const statement = statementOf(sequence)
  return statement > BigInt(offset) && statement > statementOf(sequenceBefore)
}

function statementOf(sequence: string): bigint {
  return BigInt(sequence.slice(0, -WATERMARK_DIGITS) || '0')
}
