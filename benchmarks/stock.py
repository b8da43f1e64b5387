"""`uvicorn benchmarks.stock:app`: the same questions answered by Strawberry as its documentation has it.

Types that are filled, resolvers, a dataloader for each request, Redis by its own client, and Strawberry's ASGI view.
Nothing is cached and nothing is limited; it answers two of the questions of `schema.graphql`, under the same names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import strawberry
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader

from plimsoll import keys, messages
from plimsoll.risk.score import RiskBand, risk_band

_redis = Redis.from_url(os.environ["REDIS_URL"])
Band = strawberry.enum(RiskBand)
Tolerance = strawberry.enum(messages.RiskTolerance)


@strawberry.type
class RiskSnapshot:
    """Those fields of a snapshot that are asked for here."""

    portfolio_id: strawberry.ID
    advisor_id: strawberry.ID
    sequence: str
    as_of: datetime
    calculated_at: datetime
    market_value: float
    gross_exposure: float
    net_exposure: float
    cash: float
    var_95: float
    var_99: float
    es_975: float
    var_95_fraction: float | None
    var_99_fraction: float | None
    es_975_fraction: float | None
    volatility: float | None
    expected_return: float | None
    sharpe_ratio: float | None
    beta: float | None
    max_drawdown: float | None
    effective_names: float | None
    risk_number: int | None
    risk_band: Band | None  # type: ignore[valid-type]  # made by a call
    day_pnl: float
    coverage: float


_PLAIN = [name for name in RiskSnapshot.__annotations__ if name not in ("as_of", "calculated_at", "risk_band")]


def _snapshot_of(message: messages.RiskSnapshot) -> RiskSnapshot:
    plain: dict[str, Any] = {name: getattr(message, name) for name in _PLAIN}
    return RiskSnapshot(
        as_of=datetime.fromtimestamp(message.as_of_ns / 1e9, UTC),
        calculated_at=datetime.fromtimestamp(message.calculated_at_ns / 1e9, UTC),
        risk_band=None if message.risk_number is None else risk_band(message.risk_number),
        **plain,
    )


@strawberry.type
class Portfolio:
    """A portfolio of the list."""

    portfolio_id: strawberry.ID
    risk_tolerance: Tolerance  # type: ignore[valid-type]  # made by a call

    @strawberry.field
    async def risk(self, info: strawberry.Info) -> RiskSnapshot | None:
        """By the dataloader of the request."""
        message = await info.context["risks"].load(self.portfolio_id)
        return None if message is None else _snapshot_of(message)


@strawberry.type
class PortfolioEdge:
    """A place in the list."""

    node: Portfolio


@strawberry.type
class PortfolioConnection:
    """A page."""

    edges: list[PortfolioEdge]


@strawberry.type
class Query:
    """Two questions."""

    @strawberry.field
    async def portfolio_risk(self, info: strawberry.Info, portfolio_id: strawberry.ID) -> RiskSnapshot | None:
        """A portfolio's snapshot."""
        message = await info.context["risks"].load(portfolio_id)
        return None if message is None else _snapshot_of(message)

    @strawberry.field
    async def portfolios(self, info: strawberry.Info, first: int = 50) -> PortfolioConnection:
        """A page, the riskiest first."""
        ids: Any = await _redis.zrevrange(keys.by_risk(), 0, first - 1)
        found = await info.context["risks"].load_many([each.decode() for each in ids])
        return PortfolioConnection(
            edges=[
                PortfolioEdge(node=Portfolio(portfolio_id=message.portfolio_id, risk_tolerance=message.risk_tolerance))
                for message in found
                if message is not None
            ]
        )


async def _risks(portfolio_ids: Sequence[str]) -> list[messages.RiskSnapshot | None]:
    found: Any = await _redis.mget([keys.risk(each) for each in portfolio_ids])
    return [None if raw is None else messages.decode(raw, messages.RiskSnapshot) for raw in found]


class View(GraphQL[dict[str, Any], None]):
    """Strawberry's own view, with a dataloader for each request."""

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> dict[str, Any]:
        """What resolvers share."""
        return {"risks": DataLoader(_risks)}


app = Starlette(routes=[Route("/graphql", View(strawberry.Schema(Query)))])
