// What has to be said beside numbers that are not the whole truth. Nothing where they are.
import { html, nothing, type TemplateResult } from 'lit'

import { count, NONE, percent } from '../../format.ts'

const NAMED_MAX = 20

/** ` (1.52%)` behind an amount; nothing where the portfolio has no positive value to take a part of. */
export function ofValue(fraction: string): string {
  return fraction === NONE ? '' : ` (${fraction})`
}

/** Symbols that are held but in no number: they have no price. */
export function incomplete(symbols: readonly string[]): TemplateResult | typeof nothing {
  if (!symbols.length) return nothing
  return html`<p class="problem"><strong>Without a price, and in no number here:</strong> ${listed(symbols)}.</p>`
}

/** The first of them by name, and how many more. */
export function listed(symbols: readonly string[]): string {
  const more = symbols.length - NAMED_MAX
  return more > 1 ? `${symbols.slice(0, NAMED_MAX).join(', ')} and ${count(more)} more` : symbols.join(', ')
}

/** Symbols that have a price but no history, and how much of the portfolio has one. */
export function proxied(symbols: readonly string[], coverage: number): TemplateResult | typeof nothing {
  if (!symbols.length) return nothing
  return html`<p class="problem"><strong>${percent(coverage, 1)} of gross exposure has a price history of its own;</strong> the
    rest is valued by a proxy: ${listed(symbols)}.</p>`
}
