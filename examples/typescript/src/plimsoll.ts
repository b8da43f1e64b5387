// The client: one question by fetch, and streams over one socket that comes back by itself.

import { createClient, type Client } from "graphql-ws";

export interface Plimsoll {
  /** The data of a query or a mutation. Throws where the answer holds errors. */
  ask<Data>(query: string, variables?: Record<string, unknown>): Promise<Data>;
  /** Every event of a subscription, through reconnects. Ends with the stream; throws where the server refuses it. */
  follow<Data>(query: string, variables?: Record<string, unknown>): AsyncGenerator<Data>;
}

const FORBIDDEN = 4403;
const RETRY_MS_MAX = 5000;

/** `onConnected` is called at each connection, before anything is heard on it: what was known before may be old. */
export function connect(url: string, token: string | undefined, onConnected: () => void): Plimsoll {
  const authorization: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  const socket = createClient({
    url: `${url.replace(/^http/, "ws")}/graphql`,
    connectionParams: authorization,
    retryAttempts: Infinity,
    retryWait,
    // The other refusals are known to graphql-ws. This one it would try again for ever.
    shouldRetry: (closed) => (closed as { code?: number }).code !== FORBIDDEN,
    on: { connected: onConnected },
  });
  return {
    ask: (query, variables) => ask(url, authorization, query, variables),
    follow: (query, variables) => follow(socket, query, variables),
  };
}

/** Twice as long each time, up to five seconds; and not every client at once. */
function retryWait(retries: number): Promise<void> {
  const longest = Math.min(100 * 2 ** retries, RETRY_MS_MAX);
  return new Promise((resolve) => setTimeout(resolve, longest * (0.5 + Math.random() / 2)));
}

interface Fault {
  message: string;
  extensions?: { code?: string };
}

interface Answer<Data> {
  data?: Data | null;
  errors?: readonly Fault[];
}

/** What an answer says instead of data. `code` is stable, such as NOT_FOUND, BAD_INPUT or UNAVAILABLE. */
export class AnswerError extends Error {
  readonly code: string | undefined;

  constructor(faults: readonly Fault[]) {
    super(faults.map(({ message }) => message).join("; "));
    this.code = faults[0]?.extensions?.code;
  }
}

async function ask<Data>(
  url: string,
  authorization: Record<string, string>,
  query: string,
  variables: Record<string, unknown> = {},
): Promise<Data> {
  const answer = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json", ...authorization },
    body: JSON.stringify({ query, variables }),
  });
  return dataOf((await answer.json()) as Answer<Data>);
}

async function* follow<Data>(socket: Client, query: string, variables: Record<string, unknown> = {}) {
  for (let failures = 0; ; failures++) {
    try {
      for await (const answer of socket.iterate({ query, variables })) {
        yield dataOf(answer as Answer<Data>);
        failures = 0;
      }
      return;
    } catch (thrown) {
      // graphql-ws throws the errors of an operation as a list, and a close of the socket as it is.
      const error = Array.isArray(thrown) ? new AnswerError(thrown) : thrown;
      if (!(error instanceof AnswerError && error.code === "UNAVAILABLE")) throw error;
    }
    await retryWait(failures);
  }
}

function dataOf<Data>({ data, errors }: Answer<Data>): Data {
  if (errors?.length) throw new AnswerError(errors);
  if (data == null) throw new Error("an answer without data");
  return data;
}
