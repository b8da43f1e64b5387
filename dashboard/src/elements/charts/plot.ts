// uPlot, dressed: the only file that knows it. It is loaded when the first line is drawn and not with the page, which is
// half as large without it.
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'

import { NONE, session, time } from '../../format.ts'
import type { Line } from './line.ts'

const HEIGHT = 200
const FONT = '11px system-ui, sans-serif'
/** Of a digit in that font, with which an axis knows how wide its labels are. */
const DIGIT_PX = 6.6
const MINUTE_S = 60
const DAY_S = 86_400
/** Between two ticks of the other axis: whole dollars, whole points. */
const STEPS = [...Array(13).keys()].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power))

/** A plot of what `line` gives, in the colours of now: canvas does not follow a style sheet. */
export function plot(into: HTMLElement, line: () => Line, pointed: (index: number | null) => void): uPlot {
  const ink = inks()
  const axis = {
    stroke: ink.quiet,
    font: FONT,
    grid: { stroke: ink.line, width: 1 },
    ticks: { stroke: ink.line, width: 1, size: 4 },
  }
  return new uPlot(
    {
      width: Math.max(1, into.clientWidth),
      height: HEIGHT,
      padding: [8, 28, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { range: () => [...line().across] }, y: { range: () => [...line().up] } },
      axes: [
        {
          ...axis,
          space: 72,
          size: 30,
          values: (_plot, ticks, _axis, _space, step) => ticks.map((tick) => moment(tick, step)),
        },
        {
          ...axis,
          space: 34,
          incrs: STEPS,
          values: (_plot, ticks) => line().ticks(ticks),
          size: (_plot, labels) => 14 + DIGIT_PX * Math.max(2, ...(labels ?? []).map((label) => label.length)),
        },
      ],
      series: [
        {},
        {
          stroke: ink.accent,
          width: 1.75,
          // What was calculated holds until it is calculated again: no slope between two points was ever true.
          ...(uPlot.paths.stepped && { paths: uPlot.paths.stepped({ align: 1 }) }),
          points: { show: (_plot, _series, from, to) => to - from < 2, size: 7, fill: ink.accent },
        },
      ],
      hooks: {
        setCursor: [({ cursor }) => pointed(cursor.left == null || cursor.left < 0 ? null : (cursor.idx ?? null))],
      },
    },
    data(line()),
    into,
  )
}

/** What uPlot draws of a line. */
export function data({ seconds, values }: Line): uPlot.AlignedData {
  return [[...seconds], [...values]]
}

/** Fit a plot to the width that it has been given. */
export function fit(drawn: uPlot, into: HTMLElement): void {
  const width = Math.max(1, into.clientWidth)
  if (width !== drawn.width) drawn.setSize({ width, height: HEIGHT })
}

function moment(tick: number, step: number): string {
  if (step >= DAY_S) return session(new Date(tick * 1000).toISOString())
  const told = time(tick * 1000)
  return step >= MINUTE_S && told !== NONE ? told.slice(0, 5) : told
}

function inks(): { accent: string; quiet: string; line: string } {
  const style = getComputedStyle(document.documentElement)
  const of = (name: string) => style.getPropertyValue(name).trim()
  return { accent: of('--accent'), quiet: of('--quiet'), line: of('--line') }
}
