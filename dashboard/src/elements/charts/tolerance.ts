// The scale of the risk number with two marks on it: where the client wants the portfolio to be, above, and where it is,
// below. The colours are the bands of the number; the label says all of it in words.
import { html, type SVGTemplateResult, svg, type TemplateResult } from 'lit'

import { AT_RISK_FROM, MODERATE_FROM, NUMBER_MAX, NUMBER_MIN } from '../../store/risk_scale.ts'

const WIDTH = 460
const EDGE = 8
const TOP = 22
const BOTTOM = 32
const BANDS = [
  { name: 'low', from: NUMBER_MIN, to: MODERATE_FROM },
  { name: 'moderate', from: MODERATE_FROM, to: AT_RISK_FROM },
  { name: 'high', from: AT_RISK_FROM, to: NUMBER_MAX },
]

export function toleranceScale(riskNumber: number, tolerance: number, label: string): TemplateResult {
  const [now, client] = [at(riskNumber), at(tolerance)]
  return html`<svg class="tolerance" viewBox="0 0 ${WIDTH} ${BOTTOM + 22}" role="img" aria-label=${label}>
    ${BANDS.map(
      ({ name, from, to }) =>
        svg`<rect class="bar-${name}" x=${at(from)} y=${TOP} width=${at(to) - at(from)} height=${BOTTOM - TOP}></rect>`,
    )}
    <line class="mark" x1=${client} x2=${client} y1=${TOP - 6} y2=${BOTTOM}></line>
    ${named(client, TOP - 10, `client ${tolerance}`)}
    <path class="mark-now" d="M${now} ${BOTTOM - 6}l7 13h-14z"></path>
    ${named(now, BOTTOM + 20, `portfolio ${riskNumber}`)}
  </svg>`
}

/** A text at a place of the scale, moved inwards where it would leave the picture. */
function named(x: number, y: number, text: string): SVGTemplateResult {
  const anchor = x < WIDTH * 0.15 ? 'start' : x > WIDTH * 0.85 ? 'end' : 'middle'
  const inward = { start: -EDGE, middle: 0, end: EDGE }[anchor]
  return svg`<text x=${x + inward} y=${y} text-anchor=${anchor}>${text}</text>`
}

function at(riskNumber: number): number {
  return EDGE + ((riskNumber - NUMBER_MIN) / (NUMBER_MAX - NUMBER_MIN)) * (WIDTH - 2 * EDGE)
}
