// What a backtest says, in words: which test accepts the model, on which side it fails, and the colour of the light.
import type { BacktestZone, LevelFragment, RatioFragment } from '../../api/operations.ts'
import { count, decimal, money, NONE, session } from '../../format.ts'

/** A verdict in a word or two, its probability, and whether the model fails. */
export interface Verdict {
  words: string
  probability: string
  rejected: boolean
}

/** What a likelihood ratio test at 5 % says of the model. */
export function verdict(ratio: RatioFragment): Verdict {
  // Nothing to test: no session, or no exception that another could have followed.
  if (ratio.pValue === null) return { words: 'nothing to test', probability: NONE, rejected: false }
  return {
    words: ratio.rejected ? 'rejected' : 'accepted',
    probability: probability(ratio.pValue),
    rejected: ratio.rejected,
  }
}

/** The same of the number of exceptions, which can be wrong on two sides. */
export function coverage(ratio: RatioFragment, exceptions: number, expected: number): Verdict {
  const said = verdict(ratio)
  if (!said.rejected) return said
  return { ...said, words: exceptions > expected ? 'rejected: too many' : 'rejected: too few' }
}

function probability(value: number): string {
  return value < 0.0005 ? 'p < 0.001' : `p ${decimal(value, 3)}`
}

export const ZONES: Record<BacktestZone, { name: string; means: string }> = {
  GREEN: { name: 'Green', means: 'no more exceptions than a right model may have' },
  YELLOW: { name: 'Yellow', means: 'more exceptions than a right model is likely to have: look into it' },
  RED: { name: 'Red', means: 'so many exceptions that the model is taken to be wrong' },
}

/** What Acerbi and Székely's second test says of expected shortfall. */
export function depth(z2: number | null, rejected: boolean | null): Verdict {
  if (z2 === null) return { words: 'nothing to test', probability: NONE, rejected: false }
  return {
    words: rejected ? 'rejected: losses beyond VaR are deeper than it says' : 'accepted',
    probability: `Z2 ${decimal(z2, 3)}`,
    rejected: rejected ?? false,
  }
}

/** The exceptions of one level in a sentence: how many, when, and the worst of them. */
export function summary(level: LevelFragment, name: string): string {
  const { exceptionDays: days } = level
  const said = `${count(level.exceptions)} of ${count(level.days)} sessions lost more than ${name} had said, ${decimal(level.expectedExceptions, 1)} expected`
  const [first, last] = [days[0], days.at(-1)]
  if (!first || !last) return `${said}.`
  const worst = days.reduce((one, other) => (other.loss > one.loss ? other : one))
  return `${said}; the first on ${session(first.session)}, the last on ${session(last.session)}. The largest loss, ${money(worst.loss)} on ${session(worst.session)}, was ${times(worst.loss, worst.valueAtRisk)} what had been said.`
}

/** A loss in terms of the value at risk of the evening before: `2.24 times`. */
export function times(loss: number, valueAtRisk: number): string {
  return valueAtRisk > 0 ? `${decimal(loss / valueAtRisk)} times` : 'beyond any multiple of'
}
