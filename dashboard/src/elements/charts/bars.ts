// Bars from a zero line, to either side, as a cell of a table holds them. The number stands in the cell beside it, so a
// bar is hidden from who listens to the table rather than said twice.
import { html, nothing, type SVGTemplateResult, svg, type TemplateResult } from 'lit'

import type { SignedScale } from './scale.ts'

export const BAR_LENGTH = 100
const HEIGHT = 14

export interface Drawn {
  value: number | null | undefined
  /** Of its fill: a class of the style sheet. */
  kind: string
}

/** One bar, or two under one another that are compared; `across` marks a value on the scale that all rows share. */
export function bars(scale: SignedScale, drawn: readonly Drawn[], across?: number): TemplateResult {
  const height = HEIGHT / drawn.length
  return html`<svg class="bars ${drawn.length > 1 ? 'two' : ''}" viewBox="0 0 ${BAR_LENGTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
    ${drawn.map(({ value, kind }, index) => (value == null ? nothing : one(scale, value, kind, index * height, height)))}
    ${rule('bar-zero', scale.zero)} ${across === undefined ? nothing : rule('bar-mark', scale.at(across))}
  </svg>`
}

function one(scale: SignedScale, value: number, kind: string, top: number, height: number): SVGTemplateResult {
  const { x, width } = scale.bar(value)
  return svg`<rect class=${kind} x=${x} y=${top + 1} width=${width} height=${height - 2}></rect>`
}

function rule(kind: string, x: number): SVGTemplateResult {
  // Kept inside the picture: half of a line at its edge would be cut off.
  const at = Math.min(BAR_LENGTH - 0.5, Math.max(0.5, x))
  return svg`<line class=${kind} x1=${at} x2=${at} y1="0" y2=${HEIGHT} vector-effect="non-scaling-stroke"></line>`
}
