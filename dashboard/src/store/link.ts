// What the page shows, in its address: `#min=70&advisor=advisor-3&q=text&sort=-var95&portfolio=p-17&tab=stress`. A link
// that is sent to a colleague shows the same. It never holds a token. What is at its default is not mentioned.
import { EVERYTHING, type Filter, RISKIEST_FIRST, SORT_KEYS, type Sort, type SortKey } from './view.ts'

export const TABS = ['overview', 'holdings', 'methods', 'stress', 'whatif', 'backtest'] as const
export type Tab = (typeof TABS)[number]

export interface Link {
  filter: Filter
  sort: Sort
  /** The portfolio whose details are open; empty where none is. */
  portfolioId: string
  tab: Tab
}

/** Read a location's hash. What cannot be read is at its default: an old or mistyped link still opens the page. */
export function readLink(hash: string): Link {
  const said = new URLSearchParams(hash.replace(/^#/, ''))
  const min = Number(said.get('min') ?? EVERYTHING.min)
  return {
    filter: {
      min: Number.isInteger(min) && min >= 1 && min <= 99 ? min : EVERYTHING.min,
      advisorId: said.get('advisor') ?? '',
      text: said.get('q') ?? '',
    },
    sort: readSort(said.get('sort')),
    portfolioId: said.get('portfolio') ?? '',
    tab: oneOf(TABS, said.get('tab')) ?? 'overview',
  }
}

/** Write it: a hash with its `#`, or nothing where everything is at its default. */
export function writeLink(link: Link): string {
  const said = new URLSearchParams()
  if (link.filter.min !== EVERYTHING.min) said.set('min', String(link.filter.min))
  if (link.filter.advisorId) said.set('advisor', link.filter.advisorId)
  if (link.filter.text) said.set('q', link.filter.text)
  const sort = (link.sort.descending ? '-' : '') + link.sort.key
  if (sort !== `-${RISKIEST_FIRST.key}`) said.set('sort', sort)
  if (link.portfolioId) said.set('portfolio', link.portfolioId)
  if (link.portfolioId && link.tab !== 'overview') said.set('tab', link.tab)
  const text = said.toString()
  return text ? `#${text}` : ''
}

function readSort(said: string | null): Sort {
  const key = oneOf<SortKey>(SORT_KEYS, said?.replace(/^-/, '') ?? null)
  return key ? { key, descending: said?.startsWith('-') ?? false } : RISKIEST_FIRST
}

function oneOf<T extends string>(known: readonly T[], said: string | null): T | undefined {
  return known.find((each) => each === said)
}
