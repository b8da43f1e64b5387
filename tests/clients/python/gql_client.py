"""gql: queries and mutations by its httpx transport, subscriptions by its websockets transport."""

from __future__ import annotations

import asyncio

from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportConnectionFailed, TransportError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport
from play import MUTATION, QUERY, RETRY_SECONDS, SOCKET_URL, SUBSCRIPTION, TRADE, URL, WHO, say


async def once(text: str, variables: object) -> dict:
    async with Client(transport=HTTPXAsyncTransport(f"{URL}/graphql")) as client:
        return await client.execute(GraphQLRequest(text, variable_values=variables))


async def main() -> None:
    say("query", **(await once(QUERY, WHO))["portfolioRisk"])
    following = GraphQLRequest(SUBSCRIPTION, variable_values=WHO)
    is_first, reason = True, ""
    while reason != "CLOSED":
        try:
            async with Client(transport=WebsocketsTransport(f"{SOCKET_URL}/graphql")) as client:
                say("connected")
                async for data in client.subscribe(following):
                    say("event", **data["portfolioRisk"])
                    reason = data["portfolioRisk"]["reason"]
                    if is_first:
                        is_first = False
                        say("mutation", **(await once(MUTATION, TRADE))["simulatePortfolioUpdate"])
        except (TransportConnectionFailed, OSError) as away:
            # gql says nothing of the code; the error beneath does.
            say("closed", reason=str(away))
        except TransportError as refused:
            say("failed", message=str(refused))
            return
        await asyncio.sleep(RETRY_SECONDS)


asyncio.run(main())
