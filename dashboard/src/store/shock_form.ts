// What somebody writes into the form of a shock, read: percentages as people write them, and names that stand alone or
// not at all. What cannot be read is named with its field, the reason and what to write instead.

/** What the fields hold, as typed. */
export interface ShockFields {
  market: string
  sector: string
  sectorPercent: string
  symbol: string
  symbolPercent: string
}

export interface Shock {
  parallelFraction: number | null
  sectors: { sector: string; fraction: number }[]
  symbols: { symbol: string; fraction: number }[]
}

export type Problems = Partial<Record<keyof ShockFields, string>>

/** A price cannot fall below nothing. */
const PERCENT_MIN = -100
/** The server's limit: a rise to eleven times the price. */
const PERCENT_MAX = 1000
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)$/

/** What is held, so that a name typed in small letters finds it. */
export interface Held {
  sectors: readonly string[]
  symbols: readonly string[]
}

/** The shock that the fields say, or what is wrong with which of them. */
export function readShock(fields: ShockFields, held: Held): { shock: Shock } | { problems: Problems } {
  const problems: Problems = {}
  const read = (field: keyof ShockFields): number | null => {
    const found = readPercent(fields[field])
    if (typeof found === 'string') problems[field] = found
    return typeof found === 'number' ? found : null
  }
  const shock: Shock = { parallelFraction: read('market'), sectors: [], symbols: [] }
  const sector = named(fields, problems, 'sector', 'sectorPercent', read('sectorPercent'))
  if (sector) shock.sectors.push({ sector: asHeld(sector.name, held.sectors), fraction: sector.fraction })
  const symbol = named(fields, problems, 'symbol', 'symbolPercent', read('symbolPercent'))
  if (symbol) shock.symbols.push({ symbol: asHeld(symbol.name, held.symbols), fraction: symbol.fraction })
  const nothing = shock.parallelFraction === null && !shock.sectors.length && !shock.symbols.length
  if (nothing && !Object.keys(problems).length) {
    problems.market = 'nothing is shocked: write a percentage here, or for a sector or a symbol'
  }
  return Object.keys(problems).length ? { problems } : { shock }
}

/** `-20`, `−20 %` and `-20%` as -0.2; nothing as null; what is none of these as the reason why. */
export function readPercent(text: string): number | null | string {
  const bare = text.trim().replace('−', '-').replace(/\s*%$/, '')
  if (!bare) return null
  if (!NUMBER.test(bare)) return `“${text.trim()}” is no percentage: write it like −20 or 2.5`
  const percent = Number(bare)
  if (percent < PERCENT_MIN) return 'a price cannot fall by more than 100%: write −100 or more'
  if (percent > PERCENT_MAX) return 'a rise of more than 1000% is not reckoned with: write 1000 or less'
  return percent / 100
}

/** A name as the portfolio writes it; as it was typed where nothing of that name is held: the answer then says so. */
function asHeld(name: string, held: readonly string[]): string {
  return held.find((each) => each.toLowerCase() === name.toLowerCase()) ?? name
}

function named(
  fields: ShockFields,
  problems: Problems,
  nameField: 'sector' | 'symbol',
  percentField: 'sectorPercent' | 'symbolPercent',
  fraction: number | null,
): { name: string; fraction: number } | null {
  const name = fields[nameField].trim()
  if (name && !fields[percentField].trim()) {
    problems[percentField] = `${name} has no percentage: write one, or take the ${nameField} out`
  }
  if (!name && fraction !== null) problems[nameField] = `which ${nameField}? Name it, or take its percentage out`
  return name && fraction !== null ? { name, fraction } : null
}
