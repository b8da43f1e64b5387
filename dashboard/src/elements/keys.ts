// Which keys do what.
import { html, type TemplateResult } from 'lit'

import { Element } from './element.ts'

const KEYS: readonly (readonly [string, string])[] = [
  ['Ctrl K', 'search'],
  ['Tab', 'from one part of the page to the next; the table is one stop'],
  ['Arrows', 'from cell to cell in the table; above the first row is its head'],
  ['Page Up, Page Down', 'a page of rows'],
  ['Home, End', 'first and last column; with Ctrl, first and last row'],
  ['Enter', 'in the head: sort; in a row: open its details; on an advisor: only that advisor’s portfolios'],
  ['Escape', 'close the details, back to the row they are of'],
]

export class KeysHelp extends Element {
  show(): void {
    this.querySelector('dialog')?.showModal()
  }

  protected override render(): TemplateResult {
    return html`<dialog aria-labelledby="keys-title">
      <h2 id="keys-title">Keys</h2>
      <dl class="keys">${KEYS.map(([key, does]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${does}</dd></div>`)}</dl>
      <form method="dialog"><button class="button primary">Close</button></form>
    </dialog>`
  }
}

customElements.define('keys-help', KeysHelp)
