// What relay-compiler reads. Nothing runs it: relay.mjs takes what the compiler writes beside it.

import { graphql } from "relay-runtime";

export const query = graphql`
  query documentsQuery($portfolioId: ID!) {
    portfolioRisk(portfolioId: $portfolioId) { portfolioId sequence marketValue }
  }
`;

export const mutation = graphql`
  mutation documentsMutation($input: SimulatePortfolioUpdateInput!) {
    simulatePortfolioUpdate(input: $input) {
      __typename
      ... on PortfolioUpdateAccepted { topic offset }
      ... on Problem { code message }
    }
  }
`;

export const subscription = graphql`
  subscription documentsSubscription($portfolioId: ID!) {
    portfolioRisk(portfolioId: $portfolioId) { reason previousSequence risk { sequence marketValue stale } }
  }
`;

// What follows asks of a schema what Relay's specification does: `node`, and connections with cursors.
export const portfolio = graphql`
  fragment documents_portfolio on Portfolio @refetchable(queryName: "documentsRefetchQuery") { portfolioId }
`;

export const node = graphql`
  query documentsNodeQuery($id: ID!) {
    node(id: $id) { id ... on Portfolio { portfolioId } }
  }
`;

export const page = graphql`
  query documentsPageQuery($count: Int!, $cursor: String) {
    portfolios(first: $count, after: $cursor, orderBy: PORTFOLIO_ID) @connection(key: "documents_portfolios") {
      edges { node { id ...documents_portfolio } }
      pageInfo { endCursor hasNextPage }
    }
  }
`;
