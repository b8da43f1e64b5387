// What a stress or a shock does to each holding and sector: the same two tables for both.
import { html, type TemplateResult } from 'lit'

import type { StressedHoldingLineFragment } from '../../api/operations.ts'
import { signedMoney, signedPercent } from '../../format.ts'
import { BAR_LENGTH, bars } from '../charts/bars.ts'
import { SignedScale } from '../charts/scale.ts'
import { direction } from '../parts.ts'

interface SectorPnl {
  sector: string | null
  pnl: number
}

/** Where a return comes from, for who has not read the schema. */
const BASIS: Record<string, string> = {
  own: 'its own return then',
  beta: 'beta times the index',
  shock: 'as assumed',
  unshocked: 'not shocked',
}

/** `name` is the stress's; both lists come the worst first. */
export function stressedParts(
  name: string,
  holdings: readonly StressedHoldingLineFragment[],
  sectors: readonly SectorPnl[],
): TemplateResult {
  return html`<div class="stressed">
    <table>
      <caption>${name}, by holding</caption>
      <thead><tr><th scope="col">Symbol</th><th scope="col">Return</th><th scope="col" class="bar-cell"><span class="unseen">Bar of the P&amp;L</span></th>
        <th scope="col">P&amp;L</th><th scope="col">Return is</th></tr></thead>
      <tbody>${withBars(holdings).map(
        ({ each, bar }) => html`<tr><th scope="row">${each.symbol}</th><td>${signedPercent(each.returnFraction, 1)}</td>
          <td class="bar-cell">${bar}</td><td class=${direction(each.pnl)}>${signedMoney(Math.round(each.pnl))}</td>
          <td class="basis">${BASIS[each.basis] ?? each.basis}</td></tr>`,
      )}</tbody>
    </table>
    <table>
      <caption>${name}, by sector</caption>
      <thead><tr><th scope="col">Sector</th><th scope="col" class="bar-cell"><span class="unseen">Bar of the P&amp;L</span></th><th scope="col">P&amp;L</th></tr></thead>
      <tbody>${withBars(sectors).map(
        ({
          each,
          bar,
        }) => html`<tr><th scope="row">${each.sector ?? 'no sector stated'}</th><td class="bar-cell">${bar}</td>
          <td class=${direction(each.pnl)}>${signedMoney(Math.round(each.pnl))}</td></tr>`,
      )}</tbody>
    </table>
  </div>`
}

function withBars<Each extends { pnl: number }>(of: readonly Each[]): { each: Each; bar: TemplateResult }[] {
  const scale = new SignedScale(
    of.map(({ pnl }) => pnl),
    BAR_LENGTH,
  )
  return of.map((each) => ({
    each,
    bar: bars(scale, [{ value: each.pnl, kind: each.pnl < 0 ? 'bar-loss' : 'bar-gain' }]),
  }))
}
