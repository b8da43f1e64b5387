// Apollo Client: queries and mutations over HTTP, subscriptions over graphql-ws.

import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client/core";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode } from "graphql";
import { listener, MUTATION, QUERY, say, sayFailed, SUBSCRIPTION, trade, url, who } from "./play.mjs";
import { socket } from "./socket.mjs";

const client = new ApolloClient({
  cache: new InMemoryCache(),
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    new HttpLink({ uri: `${url}/graphql` }),
  ),
});

say("query", (await client.query({ query: gql(QUERY), variables: who })).data.portfolioRisk);
const heard = listener(async () => (await client.mutate({ mutation: gql(MUTATION), variables: trade })).data);
client.subscribe({ query: gql(SUBSCRIPTION), variables: who }).subscribe({
  next: ({ data, error }) => (error ? sayFailed(error) : heard(data)),
  error: sayFailed,
  complete: () => say("completed"),
});
