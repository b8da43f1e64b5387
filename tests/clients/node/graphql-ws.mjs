// graphql-ws by itself: query, mutation and subscription over one socket.

import { listener, MUTATION, QUERY, say, sayFailed, SUBSCRIPTION, trade, who } from "./play.mjs";
import { socket } from "./socket.mjs";

async function once(query, variables) {
  for await (const answer of socket.iterate({ query, variables })) return answer.data;
}

say("query", (await once(QUERY, who)).portfolioRisk);
const heard = listener(() => once(MUTATION, trade));
socket.subscribe(
  { query: SUBSCRIPTION, variables: who },
  { next: (answer) => heard(answer.data), error: sayFailed, complete: () => say("completed") },
);
