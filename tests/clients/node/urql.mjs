// urql: queries and mutations over HTTP, subscriptions over graphql-ws.

import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { pipe, subscribe } from "wonka";
import { listener, MUTATION, QUERY, say, sayFailed, SUBSCRIPTION, trade, url, who } from "./play.mjs";
import { socket } from "./socket.mjs";

const client = new Client({
  url: `${url}/graphql`,
  exchanges: [
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
      }),
    }),
  ],
});

const answered = await client.query(QUERY, who);
if (answered.error) sayFailed(answered.error);
else say("query", answered.data.portfolioRisk);
const heard = listener(async () => (await client.mutation(MUTATION, trade)).data);
pipe(
  client.subscription(SUBSCRIPTION, who),
  subscribe(({ data, error }) => (error ? sayFailed(error) : heard(data))),
);
