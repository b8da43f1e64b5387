// Apollo Client without a socket: HttpLink asks for subscriptions as multipart answers. RetryLink begins again after a
// failure; an end without one is begun again here, for a stream that the server ends has not failed.

import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client/core";
import { RetryLink } from "@apollo/client/link/retry";
import { listener, MUTATION, QUERY, say, sayFailed, SUBSCRIPTION, trade, url, who } from "./play.mjs";

const AGAIN_MS = 200;
const client = new ApolloClient({
  cache: new InMemoryCache(),
  link: ApolloLink.from([
    new RetryLink({ delay: { initial: 100, max: 2000 }, attempts: { max: Infinity } }),
    new HttpLink({ uri: `${url}/graphql` }),
  ]),
});

say("query", (await client.query({ query: gql(QUERY), variables: who })).data.portfolioRisk);
const heard = listener(async () => (await client.mutate({ mutation: gql(MUTATION), variables: trade })).data);

function follow() {
  let closed = false;
  const again = () => closed || setTimeout(follow, AGAIN_MS);
  client.subscribe({ query: gql(SUBSCRIPTION), variables: who }).subscribe({
    next: ({ data, error }) => {
      if (error) return sayFailed(error);
      closed = data.portfolioRisk.reason === "CLOSED";
      heard(data);
    },
    error: (error) => {
      sayFailed(error);
      again();
    },
    complete: again,
  });
}

follow();
