// A socket that is closed for good: its client must be told once, and not try again. Says how it ended, then ends.

import { createClient } from "graphql-ws";
import { say, url } from "./play.mjs";

// As long as several tries would take.
const QUIET_MS = 1000;
const WRONG = {
  // As it is written to the socket: graphql-ws itself would send nothing of the kind.
  "a message that is none": { jsonMessageReplacer: (key, value) => (key === "query" ? 42 : value) },
  "a wrong token": { connectionParams: { authorization: "Bearer wrong" } },
};

let opened = 0;
const codes = [];
const client = createClient({
  url: `${url.replace(/^http/, "ws")}/graphql`,
  ...WRONG[process.argv[3]],
  retryAttempts: Infinity,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 100)),
  shouldRetry: (closed) => closed.code !== 4403,
  on: { opened: () => opened++, closed: ({ code }) => codes.push(code) },
});
const ended = await new Promise((resolve) => {
  client.subscribe({ query: "{ __typename }" }, { next: () => resolve("next"), error: () => resolve("error"), complete: () => {} });
});
await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
await client.dispose();
say("refused", { ended, opened, codes });
