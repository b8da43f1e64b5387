// urql without a socket: fetchExchange asks for subscriptions as server-sent events. retryExchange begins again after a
// failure; an end without one is begun again here, for a stream that the server ends has not failed.

import { Client, fetchExchange } from "@urql/core";
import { retryExchange } from "@urql/exchange-retry";
import { onEnd, pipe, subscribe } from "wonka";
import { listener, MUTATION, QUERY, say, sayFailed, SUBSCRIPTION, trade, url, who } from "./play.mjs";

const AGAIN_MS = 200;
const client = new Client({
  url: `${url}/graphql`,
  fetchSubscriptions: true,
  exchanges: [
    retryExchange({
      initialDelayMs: 100,
      maxDelayMs: 2000,
      maxNumberAttempts: Infinity,
      retryIf: (error) => Boolean(error.networkError),
    }),
    fetchExchange,
  ],
});

const answered = await client.query(QUERY, who);
if (answered.error) sayFailed(answered.error);
else say("query", answered.data.portfolioRisk);
const heard = listener(async () => (await client.mutation(MUTATION, trade)).data);

function follow() {
  let closed = false;
  pipe(
    client.subscription(SUBSCRIPTION, who),
    onEnd(() => closed || setTimeout(follow, AGAIN_MS)),
    subscribe(({ data, error }) => {
      if (error) return sayFailed(error);
      closed = data.portfolioRisk.reason === "CLOSED";
      heard(data);
    }),
  );
}

follow();
