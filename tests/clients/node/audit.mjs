// The server audits of GraphQL over HTTP, as graphql-http ships them: one line an audit.

import { auditServer } from "graphql-http";
import { say, url } from "./play.mjs";

for (const { id, name, status, reason } of await auditServer({ url: `${url}/graphql` })) {
  say("audit", { id, name, status, reason });
}
