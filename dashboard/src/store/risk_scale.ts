// Where the bands of the risk number lie: the server's `plimsoll.risk.score`, which a test holds this to. A row brings
// its own band along; these are for what shows the scale itself.
export const MODERATE_FROM = 30
export const AT_RISK_FROM = 70
export const NUMBER_MIN = 1
export const NUMBER_MAX = 99

export function bandAt(riskNumber: number): 'LOW' | 'MODERATE' | 'HIGH' {
  if (riskNumber >= AT_RISK_FROM) return 'HIGH'
  return riskNumber >= MODERATE_FROM ? 'MODERATE' : 'LOW'
}
