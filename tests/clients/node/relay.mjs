// Relay: compiled documents, fetch for queries and mutations, graphql-ws for subscriptions.

import relay from "relay-runtime";
import mutation from "./relay/__generated__/documentsMutation.graphql.js";
import nodeQuery from "./relay/__generated__/documentsNodeQuery.graphql.js";
import pageQuery from "./relay/__generated__/documentsPageQuery.graphql.js";
import query from "./relay/__generated__/documentsQuery.graphql.js";
import subscription from "./relay/__generated__/documentsSubscription.graphql.js";
import { listener, say, sayFailed, trade, url, who } from "./play.mjs";
import { socket } from "./socket.mjs";

const { commitMutation, Environment, fetchQuery, Network, Observable, RecordSource, requestSubscription, Store } = relay;

async function fetchOnce({ text, name }, variables) {
  const answer = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json, application/json" },
    body: JSON.stringify({ query: text, operationName: name, variables }),
  });
  return answer.json();
}

const follow = ({ text, name }, variables) =>
  Observable.create((sink) => socket.subscribe({ query: text, operationName: name, variables }, sink));

const environment = new Environment({
  network: Network.create(fetchOnce, follow),
  store: new Store(new RecordSource()),
});

const asked = (document, variables) => fetchQuery(environment, document, variables).toPromise();
const changed = (variables) =>
  new Promise((onCompleted, onError) => commitMutation(environment, { mutation, variables, onCompleted, onError }));

say("query", (await asked(query, who)).portfolioRisk);
const first = (await asked(pageQuery, { count: 3 })).portfolios;
// Relay's store joins the second page to the first.
const both = (await asked(pageQuery, { count: 3, cursor: first.pageInfo.endCursor })).portfolios;
say("pages", { ids: both.edges.map(({ node }) => node.id) });
const { id } = first.edges[0].node;
say("node", { asked: id, ...(await asked(nodeQuery, { id })).node });
requestSubscription(environment, {
  subscription,
  variables: who,
  onNext: listener(() => changed(trade)),
  onError: sayFailed,
  onCompleted: () => say("completed"),
});
