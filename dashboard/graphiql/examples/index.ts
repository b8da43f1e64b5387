// What a newcomer finds in the tabs: operations that answer on a running demo. Values stand in the text, so that each
// can be run, changed and run again in one editor; files, so that they can be checked against the schema.
import atRisk from './at-risk.graphql?raw'
import backtest from './backtest.graphql?raw'
import contributions from './contributions.graphql?raw'
import firm from './firm.graphql?raw'
import follow from './follow.graphql?raw'
import portfolios from './portfolios.graphql?raw'
import simulate from './simulate.graphql?raw'
import stress from './stress.graphql?raw'
import whatIf from './what-if.graphql?raw'

const STANDS_FOR_ONE = 'portfolio-0001'

/** The examples, of this portfolio. */
export function examplesOf(portfolioId = STANDS_FOR_ONE): { query: string }[] {
  const texts = [portfolios, atRisk, follow, contributions, whatIf, stress, backtest, firm, simulate]
  return texts.map((text) => ({ query: text.replaceAll(STANDS_FOR_ONE, portfolioId) }))
}
