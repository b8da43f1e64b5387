// What trades would change: every measure before and after, the limits that are then exceeded, and what the numbers do
// not cover.
import { html, nothing, type TemplateResult } from 'lit'

import type { LimitCode, WhatIfQuery } from '../../api/operations.ts'
import { count, decimal, money, percent } from '../../format.ts'
import { incomplete, listed, proxied } from './caveats.ts'
import { type Compared, compared } from './whatif_measures.ts'

type Result = WhatIfQuery['whatIf']
type Breach = Result['breaches'][number]

/** The comparison; only how it stands where nothing is traded. */
export function comparison({ before, after }: Result, traded: boolean): TemplateResult {
  const lines = compared(before, after)
  if (!traded) {
    return html`<table>
      <caption>As it stands, with the prices of this moment</caption>
      <thead><tr><th scope="col">Measure</th><th scope="col">Now</th></tr></thead>
      <tbody>${lines.map(
        (line) => html`<tr><th scope="row" title=${line.about}>${line.name}</th><td>${line.before}</td></tr>`,
      )}</tbody>
    </table>`
  }
  return html`<div class="table-scroll" role="region" aria-label="Before and after" tabindex="0"><table class="comparison">
    <caption>Before and after, with the prices of this moment; estimates, not forecasts</caption>
    <thead><tr><th scope="col">Measure</th><th scope="col">Before</th><th scope="col">After</th>
      <th scope="col">Difference</th></tr></thead>
    <tbody>${lines.map(
      (
        line,
      ) => html`<tr><th scope="row" title=${line.about}>${line.name}</th><td>${line.before}</td><td>${line.after}</td>
        <td class=${line.verdict ?? ''}>${difference(line)}</td></tr>`,
    )}</tbody>
  </table></div>`
}

function difference({ arrow, change, words }: Compared): TemplateResult {
  return html`${arrow ? html`<span aria-hidden="true">${arrow}</span> ` : nothing}${change} <span class="words">${words}</span>`
}

/** Which limits are exceeded afterwards, and which of them were so before. */
export function limits(breaches: readonly Breach[], traded: boolean): TemplateResult {
  if (!breaches.length) return html`<p class="note">No limit is exceeded${traded ? ' afterwards' : ''}.</p>`
  return html`<div class="table-scroll" role="region" aria-label="Limits exceeded" tabindex="0"><table class="breaches">
    <caption>Limits exceeded${traded ? ' afterwards' : ''}; they forbid nothing</caption>
    <thead><tr><th scope="col">Limit</th><th scope="col">Value</th><th scope="col">Bound</th><th scope="col">Since</th></tr></thead>
    <tbody>${breaches.map(
      (breach) => html`<tr><th scope="row">${breach.message}</th><td>${inUnit(breach.code, breach.value)}</td>
        <td>${inUnit(breach.code, breach.bound)}</td>
        <td>${breach.alreadyBreached ? (traded ? 'before' : 'now') : html`<strong class="worse">new</strong>`}</td></tr>`,
    )}</tbody>
  </table></div>`
}

function inUnit(code: LimitCode, value: number): string {
  switch (code) {
    case 'AT_RISK':
    case 'ABOVE_TOLERANCE':
      return count(value)
    case 'SINGLE_NAME':
    case 'VALUE_AT_RISK':
      return percent(value)
    case 'LEVERAGE':
      return `${decimal(value)}×`
    case 'NO_VALUE':
    case 'NEGATIVE_CASH':
      return money(value)
  }
}

/** What is not in the numbers, or is in them by an estimate. */
export function provisos({ before, after }: Result, traded: boolean): TemplateResult {
  const unknown = after.incompleteSymbols.filter((symbol) => !before.incompleteSymbols.includes(symbol))
  return html`${incomplete(after.incompleteSymbols)}
    ${unknown.length ? html`<p class="says">Check how ${listed(unknown)} is spelt.</p>` : nothing}
    ${proxied(after.proxiedSymbols, after.coverage)}
    ${before.stale ? html`<p class="problem"><strong>The engine is silent:</strong> the prices are those of when it last spoke.</p>` : nothing}
    ${
      traded
        ? html`<p class="says quiet">Cash stays as it is: nothing is paid from it, and no proceeds come into it. So the value
            moves by what is traded.</p>`
        : nothing
    }`
}
