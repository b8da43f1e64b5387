// One of a few, as buttons beside one another: what a chart or a table shows.
import { html, type TemplateResult } from 'lit'

export function choice<Value>(
  label: string,
  of: readonly { value: Value; name: string }[],
  chosen: Value,
  choose: (value: Value) => void,
): TemplateResult {
  return html`<div class="choice" role="group" aria-label=${label}>${of.map(
    ({ value, name }) =>
      html`<button type="button" aria-pressed=${value === chosen} @click=${() => choose(value)}>${name}</button>`,
  )}</div>`
}
