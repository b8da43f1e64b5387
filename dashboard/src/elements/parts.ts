// Small pieces that several elements show alike.
import { html, nothing, type TemplateResult } from 'lit'

import type { Asked } from './element.ts'

/** A number with its name, and a second line where there is more to say. */
export function tile(name: string, value: string, note = '', kind = ''): TemplateResult {
  return html`<div class="tile">
    <dt>${name}</dt>
    <dd><span class="value ${kind}">${value}</span>${note ? html` <span class="note">${note}</span>` : nothing}</dd>
  </div>`
}

/** Up, down or neither, for colour; the sign beside it says the same without. */
export function direction(value: number | null | undefined): 'gain' | 'loss' | '' {
  if (!value) return ''
  return value > 0 ? 'gain' : 'loss'
}

/** Something asked for: `shown` of its answer, or that it is being loaded, or why it is not there. */
export function asked<Result>(of: Asked<Result>, shown: (data: Result) => unknown, name: string): TemplateResult {
  return html`${
    of.error
      ? html`<p class="problem" role="alert">
          <strong>${of.data ? `${name} could not be brought up to date` : `${name} could not be loaded`}:</strong>
          ${of.error.message}
        </p>`
      : nothing
  }${of.data ? shown(of.data) : of.error ? nothing : html`<p class="loading" role="status">Loading ${name.toLowerCase()}…</p>`}`
}
