// A table that is sorted by its heads: what its columns say of a row, and the order they put the rows in.
import { html, nothing, type TemplateResult } from 'lit'

import { type Order, ordered, reordered } from '../../store/holdings.ts'

export interface Column<Row> {
  key: string
  label: string
  /** Explains the label, where it does not explain itself. */
  title?: string
  cell(row: Row): unknown
  kind?(row: Row): string
  /** What it is sorted by; a column without cannot be. */
  by?(row: Row): string | number | null | undefined
}

interface Shown<Row> {
  caption: unknown
  /** For whoever meets the scrolling part alone. */
  name: string
  columns: readonly Column<Row>[]
  rows: readonly Row[]
  order: Order<string>
  reorder(order: Order<string>): void
  foot?: TemplateResult | typeof nothing
}

/** The first column names the row. */
export function sortedTable<Row>({ caption, name, columns, rows, order, reorder, foot }: Shown<Row>): TemplateResult {
  const by = columns.find(({ key }) => key === order.key)?.by
  const shown = by ? ordered(rows, by, order.descending) : rows
  return html`<div class="table-scroll" role="region" aria-label=${name} tabindex="0"><table class="sorted">
    <caption>${caption}</caption>
    <thead><tr>${columns.map((column) => head(column, rows, order, reorder))}</tr></thead>
    <tbody>${shown.map(
      (row) =>
        html`<tr>${columns.map((column, index) =>
          index
            ? html`<td class=${column.kind?.(row) ?? ''}>${column.cell(row)}</td>`
            : html`<th scope="row">${column.cell(row)}</th>`,
        )}</tr>`,
    )}</tbody>
    ${foot ?? nothing}
  </table></div>`
}

function head<Row>(
  { key, label, title, by }: Column<Row>,
  rows: readonly Row[],
  order: Order<string>,
  reorder: (order: Order<string>) => void,
): TemplateResult {
  // Bars: seen without a name, and told by one.
  if (!by) return html`<th scope="col"><span class="unseen">${label}</span></th>`
  const chosen = order.key === key
  const isText = rows.some((row) => typeof by(row) === 'string')
  return html`<th scope="col" title=${title ?? nothing} aria-sort=${chosen ? (order.descending ? 'descending' : 'ascending') : nothing}>
    <button type="button" class="sort" @click=${() => reorder(reordered(order, key, isText))}>${label}<span
      aria-hidden="true">${chosen ? (order.descending ? ' ▼' : ' ▲') : ''}</span></button>
  </th>`
}
