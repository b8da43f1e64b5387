// How numbers are written: one place, so that a column and a chart never disagree. A value that is not there is a dash.
// The minus is U+2212, as wide as the plus beside it; digits are tabular by the style sheet.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
const units = new Intl.NumberFormat('en-US', { maximumFractionDigits: 4 })
const fitted = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 4 })
const brief = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 })

const MINUS = '−'
/** From here on money in full does not fit a column of the table. */
const FITS_BELOW = 99_999_999.5
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

export const NONE = '–'

/** `$51,244`, in whole units of the reporting currency; below zero `−$51,244`. */
export function money(amount: number | null | undefined): string {
  return amount == null ? NONE : `${signOf(amount)}$${whole.format(Math.abs(amount))}`
}

/** Money in a column: in full up to a hundred million, and above it to four digits, `$1.053T`. */
export function fittedMoney(amount: number): string {
  return Math.abs(amount) < FITS_BELOW ? money(amount) : `${amount < 0 ? MINUS : ''}$${fitted.format(Math.abs(amount))}`
}

/** The same of what went up or down. */
export function fittedSignedMoney(amount: number): string {
  return plusOf(Math.round(amount)) + fittedMoney(amount)
}

/** `$51.2K`, for a chart's axis or a tile. */
export function briefMoney(amount: number | null | undefined): string {
  return amount == null ? NONE : `${amount < 0 ? MINUS : ''}$${brief.format(Math.abs(amount))}`
}

/** Money that went up or down: `+$120`, `−$120`; nothing before a zero. */
export function signedMoney(amount: number | null | undefined): string {
  return amount == null ? NONE : plusOf(Math.round(amount)) + money(amount)
}

/** The same, brief: `+$3.32M`. */
export function briefSignedMoney(amount: number | null | undefined): string {
  return amount == null ? NONE : plusOf(amount) + briefMoney(amount)
}

/** A fraction of value as percent: 0.0213 is `2.13%`. */
export function percent(fraction: number | null | undefined, digits = 2): string {
  return fraction == null ? NONE : `${decimal(100 * fraction, digits)}%`
}

/** The same of a change: `+2.13%`. */
export function signedPercent(fraction: number | null | undefined, digits = 2): string {
  return fraction == null ? NONE : plusOf(Number((100 * fraction).toFixed(digits))) + percent(fraction, digits)
}

/** `1.27`, with as many digits whatever the value is. */
export function decimal(value: number | null | undefined, digits = 2): string {
  if (value == null) return NONE
  const shown = Math.abs(value).toFixed(digits)
  // What rounds to zero has no sign: "−0.00" reads like a loss.
  return (value < 0 && Number(shown) !== 0 ? MINUS : '') + shown
}

/** A change of a number: `+1.27`. */
export function signedDecimal(value: number | null | undefined, digits = 2): string {
  return value == null ? NONE : plusOf(Number(value.toFixed(digits))) + decimal(value, digits)
}

/** `12,345`. */
export function count(value: number | null | undefined): string {
  return value == null ? NONE : signOf(value) + whole.format(Math.abs(value))
}

/** A change of a count: `+3`, `−3`; nothing before a zero. */
export function signedCount(value: number | null | undefined): string {
  return value == null ? NONE : plusOf(Math.round(value)) + count(value)
}

/** What is held or traded: `1,601`, and of a part as much as matters: `80.5`. A short position is below zero. */
export function quantity(value: number | null | undefined): string {
  if (value == null) return NONE
  const shown = units.format(Math.abs(value))
  return (value < 0 && shown !== '0' ? MINUS : '') + shown
}

/** A change of what is held: `+500`, `−80.5`. */
export function signedQuantity(value: number | null | undefined): string {
  return value == null ? NONE : (value > 0 && quantity(value) !== '0' ? '+' : '') + quantity(value)
}

/** A duration in the unit that a person would choose: `12 ms`, `3.4 s`, `5 min`, `3 h`, `4 days`. */
export function duration(milliseconds: number | null | undefined): string {
  if (milliseconds == null || !Number.isFinite(milliseconds)) return NONE
  // Each unit ends where it would be rounded to the next one: "60.0 s" is a minute.
  if (milliseconds < 999.5) return `${Math.max(0, Math.round(milliseconds))} ms`
  if (milliseconds < 59_950) return `${(milliseconds / 1000).toFixed(1)} s`
  if (milliseconds < 120 * MINUTE_MS) return `${Math.round(milliseconds / MINUTE_MS)} min`
  if (milliseconds < 48 * HOUR_MS) return `${Math.round(milliseconds / HOUR_MS)} h`
  return `${Math.round(milliseconds / (24 * HOUR_MS))} days`
}

const clockTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })

/** `14:02:11`, on the viewer's own clock. */
export function time(epochMs: number | null | undefined): string {
  return epochMs == null || !Number.isFinite(epochMs) ? NONE : clockTime.format(epochMs)
}

const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' })

/** A session's date, `2020-03-16`, as `16 Mar 2020`: the day it is everywhere. What is no date stays as it is. */
export function session(date: string | null | undefined): string {
  if (!date) return NONE
  const midnight = Date.parse(`${date.slice(0, 10)}T00:00:00Z`)
  return Number.isNaN(midnight) ? date : day.format(midnight)
}

/** The sign of what is shown in whole units: what rounds to zero has none. */
function signOf(value: number): string {
  return value < 0 && Math.round(Math.abs(value)) !== 0 ? MINUS : ''
}

function plusOf(value: number): string {
  return value > 0 ? '+' : ''
}
