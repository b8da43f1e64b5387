// GraphiQL over our own /graphql, on the host that served the page: queries by HTTP, subscriptions by WebSocket.
import './workers'
import 'graphiql/style.css'

import { createGraphiQLFetcher } from '@graphiql/toolkit'
import { GraphiQL } from 'graphiql'
import { createClient } from 'graphql-ws'
import { createRoot } from 'react-dom/client'

import { examples } from './examples'

const socketScheme = location.protocol === 'https:' ? 'wss:' : 'ws:'

const fetcher = createGraphiQLFetcher({
  url: '/graphql',
  // Made here: the toolkit would import graphql-ws at the first subscription, and only log that it could not.
  wsClient: createClient({ url: `${socketScheme}//${location.host}/graphql`, lazy: true }),
})

const page = document.getElementById('graphiql')
if (!page) throw new Error('the page has no #graphiql element')

createRoot(page).render(
  <GraphiQL fetcher={fetcher} defaultTabs={examples} defaultEditorToolsVisibility={false}>
    <GraphiQL.Logo>Plimsoll</GraphiQL.Logo>
    <GraphiQL.Footer>
      <p className="note">
        The demo replays historical prices: its numbers are not of today's market. Projected losses are hypothetical.
      </p>
    </GraphiQL.Footer>
  </GraphiQL>,
)
