// Where the exceptions of a backtest lie in a picture of it: across by date, upwards by loss. Both as fractions of the
// picture, so that it can be drawn at any size.

export interface ExceptionDay {
  session: string
  loss: number
  valueAtRisk: number
}

export interface Tick<Value> {
  at: number
  value: Value
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const STEPS_IN_MONTHS = [1, 2, 3, 6, 12, 24, 60, 120]
const DATE_TICKS_MAX = 5
const MONEY_STEPS_MAX = 4

/** How far along a session lies from the first to the last, 0 to 1; in the middle where they are one. */
export function along(session: string, first: string, last: string): number {
  const [from, to] = [dayOf(first), dayOf(last)]
  return to > from ? (dayOf(session) - from) / (to - from) : 0.5
}

/** Beginnings of months and years for the axis of dates, a few; years where it is long. */
export function dateTicks(first: string, last: string): Tick<string>[] {
  const [from, to] = [monthOf(first), monthOf(last)]
  const step = STEPS_IN_MONTHS.find((each) => (to - from) / each <= DATE_TICKS_MAX) ?? 240
  const ticks: Tick<string>[] = []
  for (let month = Math.ceil(from / step) * step; month <= to; month += step) {
    const at = along(beginning(month), first, last)
    const name = MONTHS[month % 12] as string
    const year = String(Math.floor(month / 12))
    if (at >= 0 && at <= 1) ticks.push({ at, value: step >= 12 ? year : `${name} ${year}` })
  }
  return ticks
}

/** Round amounts from 0 up for the axis of losses; the last is the picture's upper edge. */
export function moneyTicks(days: readonly ExceptionDay[]): Tick<number>[] {
  const most = days.reduce((top, day) => Math.max(top, day.loss, day.valueAtRisk), 0)
  if (most === 0) return [{ at: 0, value: 0 }]
  const step = roundStep(most / MONEY_STEPS_MAX)
  const steps = Math.ceil(most / step)
  return Array.from({ length: steps + 1 }, (_, index) => ({ at: index / steps, value: index * step }))
}

/** The least of 1, 2 and 5 times a power of ten that is not below `least`. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least))
  return power * ([1, 2, 5].find((each) => each * power >= least) ?? 10)
}

function dayOf(session: string): number {
  return Date.parse(`${session}T00:00:00Z`)
}

function monthOf(session: string): number {
  return Number(session.slice(0, 4)) * 12 + Number(session.slice(5, 7)) - 1
}

function beginning(month: number): string {
  return `${Math.floor(month / 12)}-${String((month % 12) + 1).padStart(2, '0')}-01`
}
