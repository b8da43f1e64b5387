// A graphql-ws client that stays: it comes back after a cut, a crash and a restart, and gives up where it is refused.

import { createClient } from "graphql-ws";
import { say, url } from "./play.mjs";

const FORBIDDEN = 4403;

export const socket = createClient({
  url: `${url.replace(/^http/, "ws")}/graphql`,
  retryAttempts: Infinity,
  // Twice as long each time, up to five seconds; not everybody at once.
  retryWait: (retries) =>
    new Promise((resolve) => setTimeout(resolve, Math.min(100 * 2 ** retries, 5000) * (0.5 + Math.random() / 2))),
  // The other codes that mean a refusal are known to graphql-ws. This one it would try again for ever.
  shouldRetry: (closed) => closed.code !== FORBIDDEN,
});

socket.on("connected", () => say("connected"));
socket.on("closed", ({ code, reason }) => say("closed", { code, reason }));
