// Where values lie on a line of a given length: the arithmetic behind every bar, without a word of how it is drawn.

export interface Bar {
  /** Of its left end, in units of the scale's length. */
  x: number
  width: number
}

/** A scale for values of either sign: it holds zero, the least and the greatest of them. */
export class SignedScale {
  /** Where zero lies. */
  readonly zero: number
  private readonly perUnit: number
  private readonly low: number

  /** A scale `length` long; values that are missing need no room. */
  constructor(values: Iterable<number | null | undefined>, length: number) {
    let [low, high] = [0, 0]
    for (const value of values) {
      low = Math.min(low, value ?? 0)
      high = Math.max(high, value ?? 0)
    }
    this.low = low
    this.perUnit = high > low ? length / (high - low) : 0
    this.zero = this.at(0)
  }

  /** Where a value lies. */
  at(value: number): number {
    return (value - this.low) * this.perUnit
  }

  /** The bar from zero to a value: to the left of zero where it is negative. */
  bar(value: number): Bar {
    const at = this.at(value)
    return { x: Math.min(at, this.zero), width: Math.abs(at - this.zero) }
  }
}

/** How an axis says its ticks: as `brief` as it can while they remain different, else in full. */
export function told(
  ticks: readonly number[],
  brief: (tick: number) => string,
  full: (tick: number) => string,
): string[] {
  const short = ticks.map(brief)
  return new Set(short).size === short.length ? short : ticks.map(full)
}
