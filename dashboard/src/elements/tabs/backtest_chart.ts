// The sessions that lost more than value at risk had said, over time: from each tick of what had been said a line up to
// what was lost. The same as a table below it.
import { html, type SVGTemplateResult, svg, type TemplateResult } from 'lit'

import type { LevelFragment } from '../../api/operations.ts'
import { briefMoney, money, session } from '../../format.ts'
import { told } from '../charts/scale.ts'
import { along, dateTicks, type ExceptionDay, moneyTicks } from './backtest_scale.ts'
import { summary, times } from './backtest_words.ts'

const HEIGHT = 180
/** Room for the amounts on the left, in per cent of the width, so that text keeps its size at any; and for the dates. */
const LEFT = 13
const RIGHT = 2
const TOP = 8
const BELOW = 18
const TICK = 0.7

/** The picture and its table; a sentence where nothing is to be drawn. */
export function exceptions(level: LevelFragment, name: string, first: string, last: string): TemplateResult {
  const { exceptionDays: days } = level
  if (!days.length) return html`<p class="says">No session lost more than ${name} had said.</p>`
  return html`<figure class="exceptions">
    <svg height=${HEIGHT} role="img" aria-label=${summary(level, name)}>${axes(days, first, last)}${days.map((day) => one(day, days, first, last))}</svg>
    <figcaption><span class="key-loss">loss</span> <span class="key-said">${name} of the evening before</span></figcaption>
  </figure>
  <details class="as-table">
    <summary>As a table</summary>
    <div class="table-scroll" tabindex="0" role="region" aria-label="Exceptions of ${name}">${table(days, name)}</div>
  </details>`
}

function axes(days: readonly ExceptionDay[], first: string, last: string): SVGTemplateResult {
  const amounts = moneyTicks(days)
  const names = told(
    amounts.map(({ value }) => value),
    briefMoney,
    money,
  )
  return svg`${amounts.map(
    ({ at }, index) => svg`<line class="grid-line" x1="${LEFT}%" x2="100%" y1=${y(at)} y2=${y(at)}></line>
      <text x="${LEFT - 1}%" y=${y(at) + 3.5} text-anchor="end">${names[index]}</text>`,
  )}${dateTicks(first, last).map(
    ({ at, value }) => svg`<line class="grid-line" x1=${x(at)} x2=${x(at)} y1=${y(0)} y2=${y(0) + 4}></line>
      <text x=${x(at)} y=${HEIGHT - 3} text-anchor=${at < 0.05 ? 'start' : at > 0.95 ? 'end' : 'middle'}>${value}</text>`,
  )}`
}

function one(day: ExceptionDay, days: readonly ExceptionDay[], first: string, last: string): SVGTemplateResult {
  const top = moneyTicks(days).at(-1)?.value ?? 1
  const at = along(day.session, first, last)
  const [loss, said] = [y(day.loss / top), y(day.valueAtRisk / top)]
  return svg`<g><title>${session(day.session)}: lost ${money(day.loss)}, ${money(day.valueAtRisk)} had been said</title>
    <line class="beyond" x1=${x(at)} x2=${x(at)} y1=${said} y2=${loss}></line>
    <line class="said" x1=${x(at, -TICK)} x2=${x(at, TICK)} y1=${said} y2=${said}></line>
    <circle class="loss-dot" cx=${x(at)} cy=${loss} r="3"></circle></g>`
}

function x(at: number, more = 0): string {
  return `${(LEFT + 1 + at * (100 - LEFT - 1 - RIGHT) + more).toFixed(3)}%`
}

function y(at: number): number {
  return TOP + (1 - at) * (HEIGHT - TOP - BELOW)
}

function table(days: readonly ExceptionDay[], name: string): TemplateResult {
  return html`<table>
    <caption>Sessions that lost more than ${name} had said, the newest first</caption>
    <thead><tr><th scope="col">Session</th><th scope="col">Loss</th><th scope="col">${name}</th><th scope="col">Loss was</th></tr></thead>
    <tbody>${[...days].reverse().map(
      (day) => html`<tr><th scope="row">${session(day.session)}</th><td>${money(day.loss)}</td>
        <td>${money(day.valueAtRisk)}</td><td>${times(day.loss, day.valueAtRisk)} that</td></tr>`,
    )}</tbody>
  </table>`
}
