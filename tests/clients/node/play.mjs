// What every client plays, and how it tells: one JSON object a line, which the tests read.

export const [url, portfolioId] = process.argv.slice(2);

export const QUERY = /* GraphQL */ `
  query Risk($portfolioId: ID!) {
    portfolioRisk(portfolioId: $portfolioId) { portfolioId sequence marketValue }
  }
`;
export const MUTATION = /* GraphQL */ `
  mutation Trade($input: SimulatePortfolioUpdateInput!) {
    simulatePortfolioUpdate(input: $input) {
      __typename
      ... on PortfolioUpdateAccepted { topic offset }
      ... on Problem { code message }
    }
  }
`;
export const SUBSCRIPTION = /* GraphQL */ `
  subscription Follow($portfolioId: ID!) {
    portfolioRisk(portfolioId: $portfolioId) { reason previousSequence risk { sequence marketValue stale } }
  }
`;

export const who = { portfolioId };
// So many that no move of the market could be taken for them.
export const trade = { input: { portfolioId, trades: [{ symbol: "AAPL", quantity: 1_000_000 }] } };

export const say = (kind, told = {}) => console.log(JSON.stringify({ kind, ...told }));
export const sayFailed = (error) => say("failed", { message: String(error?.message ?? error?.reason ?? error) });

/** Calls `trades` at the first event, and says every event. */
export function listener(trades) {
  let traded = false;
  return (data) => {
    say("event", data.portfolioRisk);
    if (!traded) {
      traded = true;
      trades().then((answer) => say("mutation", answer.simulatePortfolioUpdate), sayFailed);
    }
  };
}
