// How far this machine's clock is from the server's. Every answer carries `Date` in whole seconds: cut off, and written
// anew once a second, so the server's time was between it and two seconds later, some time between the request and the
// answer. Each answer thus bounds the difference, and many answers tell it to within half a second. Without it a viewer's
// clock, wrong by minutes, would look like a slow server. Where nothing says that the clocks differ, they do not.

/** How much later than its `Date` an answer may have been given. */
const DATED_WITHIN_MS = 2000

export class ServerClock {
  private low = Number.NEGATIVE_INFINITY
  private high = Number.POSITIVE_INFINITY

  /** An answer dated `date`, asked at `sentMs` and received at `receivedMs` by this machine. */
  note(date: string | null, sentMs: number, receivedMs: number): void {
    const second = date ? Date.parse(date) : Number.NaN
    if (Number.isNaN(second)) return
    const low = second - receivedMs
    const high = second + DATED_WITHIN_MS - sentMs
    if (low > this.high || high < this.low) {
      // One of the clocks was set. What was known is of another time.
      this.low = low
      this.high = high
      return
    }
    this.low = Math.max(this.low, low)
    this.high = Math.min(this.high, high)
  }

  /** The server's clock minus this one's, in milliseconds; 0 while nothing is known, as on one machine. */
  get offsetMs(): number {
    if (!Number.isFinite(this.low)) return 0
    return this.low <= 0 && this.high >= 0 ? 0 : (this.low + this.high) / 2
  }
}
