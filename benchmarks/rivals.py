"""What the API's sockets stand beside: `python -m benchmarks.rivals KIND PORT REDIS_URL`.

`stock` is Strawberry as its documentation has it, except that our fix stops the leak of graphql-core: one subscription
to Redis for the process, and a place for the newest snapshot for each subscriber, whose own execution makes its
answers. `raw` is a websocket without GraphQL: each snapshot is encoded once, and a task for each socket sends it. Both
run on the same uvicorn as the API, and both drop what a subscriber was too slow for.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import strawberry
import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.asgi import GraphQL
from strawberry.types import Info

from plimsoll import keys, processes
from plimsoll.messages import RiskBatch, RiskSnapshot, decode


class Hub:
    """The newest snapshot for each reader of a portfolio."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(redis_url)
        self._readers: defaultdict[str, set[asyncio.Queue[Any]]] = defaultdict(set)

    async def run(self) -> None:
        """Hand out what Redis says."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.psubscribe(keys.ALL_RISK_CHANNELS)
            async for message in channel.listen():
                for snapshot in decode(message["data"], RiskBatch).snapshots:
                    readers = self._readers[snapshot.portfolio_id]
                    told = self.told(snapshot) if readers else None
                    for place in readers:
                        if place.full():
                            place.get_nowait()
                        place.put_nowait(told)

    def told(self, snapshot: RiskSnapshot) -> Any:  # noqa: ANN401 - whatever its readers send
        """What readers get of it."""
        return snapshot

    async def follow(self, portfolio_id: str) -> AsyncGenerator[Any, None]:
        """The present one, then each newer one that there was time for."""
        place: asyncio.Queue[Any] = asyncio.Queue(1)
        self._readers[portfolio_id].add(place)
        try:
            yield self.told(decode(await self._redis.get(keys.risk(portfolio_id)) or b"", RiskSnapshot))
            while True:
                yield await place.get()
        finally:
            self._readers[portfolio_id].discard(place)


class TextHub(Hub):
    """Hands out text, encoded once."""

    def told(self, snapshot: RiskSnapshot) -> str:
        """The snapshot's fields as a client of ours would see them, or nearly."""
        named = msgspec.structs.asdict(snapshot)
        return msgspec.json.encode({_camel(name): named[name] for name in _NAMES}).decode()


_NAMES = (
    "portfolio_id", "advisor_id", "sequence", "as_of_ns", "calculated_at_ns", "market_value", "gross_exposure",
    "net_exposure", "cash", "var_95", "var_99", "es_975", "var_95_fraction", "var_99_fraction", "es_975_fraction",
    "volatility", "expected_return", "sharpe_ratio", "beta", "max_drawdown", "effective_names", "risk_number",
    "day_pnl", "calculation_time_ms",
)  # fmt: skip


def _camel(name: str) -> str:
    head, *others = name.split("_")
    return head + "".join(each.capitalize() for each in others)


@strawberry.type
class Risk:
    """The fields that the subscribers of the benchmark ask for, under the same names."""

    portfolio_id: strawberry.ID
    advisor_id: strawberry.ID
    sequence: str
    as_of: str
    calculated_at: str
    market_value: float
    gross_exposure: float
    net_exposure: float
    cash: float
    var95: float
    var99: float
    es975: float
    var95_fraction: float | None
    var99_fraction: float | None
    es975_fraction: float | None
    volatility: float | None
    expected_return: float | None
    sharpe_ratio: float | None
    beta: float | None
    max_drawdown: float | None
    effective_names: float | None
    risk_number: int | None
    risk_band: str
    day_pnl: float
    stale: bool
    calculation_time_ms: float


@strawberry.type
class Event:
    """As the API's, so that the document is the same."""

    reason: str
    previous_sequence: str | None
    risk: Risk


class EventHub(Hub):
    """Hands out objects of the schema, made once."""

    def told(self, snapshot: RiskSnapshot) -> Event:
        """The snapshot as the schema has it."""
        values: dict[str, Any] = {
            name: getattr(snapshot, _ATTRIBUTES.get(name, name), "") for name in Risk.__annotations__
        }
        values |= {"as_of": str(snapshot.as_of_ns), "calculated_at": str(snapshot.calculated_at_ns), "stale": False}
        return Event(reason="UPDATE", previous_sequence=None, risk=Risk(**values))


_ATTRIBUTES = {name: name.replace("var", "var_").replace("es9", "es_9") for name in Risk.__annotations__ if "9" in name}


@strawberry.type
class Query:
    """A schema has to have one."""

    ok: bool = True


@strawberry.type
class Subscription:
    """The one that is measured."""

    @strawberry.subscription
    async def portfolio_risk(self, info: Info, portfolio_id: strawberry.ID) -> AsyncGenerator[Event, None]:
        """Events of a portfolio."""
        async for event in info.context["request"].app.state.hub.follow(str(portfolio_id)):
            yield event


async def _raw(socket: WebSocket) -> None:
    await socket.accept(subprotocol="graphql-transport-ws")
    try:
        async for text in socket.app.state.hub.follow(await socket.receive_text()):
            await socket.send_text(text)
    except WebSocketDisconnect:
        return


async def _live(_request: Request) -> Response:
    return PlainTextResponse("alive")


def application(kind: str, redis_url: str) -> Starlette:
    """One of the two."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.hub = TextHub(redis_url) if kind == "raw" else EventHub(redis_url)
        task = asyncio.create_task(app.state.hub.run())
        yield
        task.cancel()

    endpoint: Any = _raw
    if kind == "stock":
        # With the leak it would run out of memory; what is measured is not that.
        from api.schema.execution import Executor  # noqa: PLC0415

        endpoint = GraphQL(strawberry.Schema(Query, subscription=Subscription, execution_context_class=Executor))
    return Starlette(routes=[WebSocketRoute("/graphql", endpoint), Route("/live", _live)], lifespan=lifespan)


def main() -> None:
    """Serve until told to stop."""
    processes.end_with_parent()
    kind, port, redis_url = sys.argv[1:]
    uvicorn.run(
        application(kind, redis_url), host="127.0.0.1", port=int(port), loop="uvloop", http="httptools",
        ws="websockets-sansio", ws_per_message_deflate=False, log_level="warning", timeout_graceful_shutdown=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
