// How GraphiQL asks: queries and mutations by HTTP, subscriptions by websocket, both on the host that served the page.
import { createGraphiQLFetcher, type Fetcher, type FetcherParams } from '@graphiql/toolkit'
import { Kind, type OperationDefinitionNode, type OperationTypeNode, parse } from 'graphql'

import { fetchAsUs } from './session'
import { connect, follow } from './socket'

const URL_PATH = '/graphql'
const RISKIEST = '{ portfolios(first: 1, orderBy: RISK_NUMBER_DESC) { nodes { portfolioId } } }'
const ASK_MS_MAX = 3000

export function createFetcher(): Fetcher {
  const byHttp = createGraphiQLFetcher({ url: URL_PATH, fetch: fetchAsUs, enableIncrementalDelivery: false })
  const client = connect(`${location.origin.replace(/^http/, 'ws')}${URL_PATH}`)
  return (params, options) => {
    const asked = { ...params, operationName: operationIn(params) ?? null }
    if (kindOf(asked) !== 'subscription') return byHttp(asked, options)
    const { query, variables, operationName } = asked
    return follow(client, { query, variables: variables ?? null, operationName })
  }
}

/** The operation to run. GraphiQL reads the editor a moment late: just after a change of tabs it names the old one. */
function operationIn({ query, operationName }: FetcherParams): string | undefined {
  const names = operationsOf(query).map((each) => each.name?.value)
  return operationName && names.includes(operationName) ? operationName : names[0]
}

function kindOf({ query, operationName }: FetcherParams): OperationTypeNode | undefined {
  return operationsOf(query).find((each) => (each.name?.value ?? null) === operationName)?.operation
}

function operationsOf(query: string): OperationDefinitionNode[] {
  try {
    return parse(query).definitions.filter((each) => each.kind === Kind.OPERATION_DEFINITION)
  } catch {
    return [] // The server says better what is wrong with it.
  }
}

/** The id of the riskiest portfolio that we may see: what is most worth looking at. Undefined where there is none. */
export async function riskiestPortfolio(): Promise<string | undefined> {
  try {
    const response = await fetchAsUs(URL_PATH, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ query: RISKIEST }),
      // The page is worth having without it.
      signal: AbortSignal.timeout(ASK_MS_MAX),
    })
    const { data } = (await response.json()) as { data?: { portfolios?: { nodes: { portfolioId: string }[] } } }
    return data?.portfolios?.nodes[0]?.portfolioId
  } catch {
    return undefined
  }
}
