"""The REST routes of older clients: the same answers as GraphQL's, from the same code, in the bodies they know."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.backend import Backend
from api.errors import BadInput
from api.follow import RiskEvent, unknown_advisor, unknown_portfolio
from api.listing import NUMBER_MAX, NUMBER_MIN, Selection
from api.openapi import Endpoint, EventStream
from api.roles import EVERYONE, OPERATORS, READERS
from api.schema.scalars import at
from api.updates import Simulation
from plimsoll.messages import Identifier, PortfolioUpdate, RiskSnapshot, RiskTolerance
from plimsoll.risk.score import RiskBand

RiskThreshold = Annotated[int, Meta(ge=NUMBER_MIN, le=NUMBER_MAX)]


class RiskBody(msgspec.Struct):
    """A portfolio's newest risk. Losses are positive in `var` and `es`; fractions are of market value."""

    portfolio_id: str
    advisor_id: str
    risk_number: int | None
    var_95: float
    expected_return: float | None
    volatility: float | None
    sharpe_ratio: float | None
    calculation_time_ms: float
    timestamp: float
    """Seconds since 1970 at which it was calculated."""
    last_update: datetime
    client_id: str | None
    risk_tolerance: RiskTolerance
    sequence: str
    market_value: float
    gross_exposure: float
    net_exposure: float
    cash: float
    var_99: float
    es_975: float
    var_95_fraction: float | None
    var_99_fraction: float | None
    es_975_fraction: float | None
    beta: float | None
    max_drawdown: float | None
    effective_names: float | None
    day_pnl: float
    method: str
    horizon_days: int
    observations: int
    scenario_set_id: str
    var_95_scenario_date: str
    coverage: float
    incomplete_symbols: list[str]
    proxied_symbols: list[str]
    stale: bool
    price_age_ms: float | None
    long_exposure: float
    short_exposure: float
    """Negative, so that long and short add up to net."""
    sortino_ratio: float | None
    tracking_error: float | None
    risk_number_structural: int | None
    """Swinging as the long run did; `risk_number` swings as the market does now."""

    @classmethod
    async def of(cls, snapshot: RiskSnapshot, backend: Backend) -> RiskBody:
        """A snapshot as it stands now."""
        oldest_ns = snapshot.oldest_price_ns
        derived: dict[str, Any] = {
            "timestamp": snapshot.calculated_at_ns / 1_000_000_000,
            "last_update": at(snapshot.calculated_at_ns),
            "stale": await backend.engine.is_stale(),
            "price_age_ms": None if oldest_ns is None else (backend.clock() - oldest_ns) / 1e6,
        }
        as_they_are = {name: getattr(snapshot, name) for name in cls.__struct_fields__ if name not in derived}
        return cls(**derived, **as_they_are)


class AdvisorPortfolio(msgspec.Struct):
    """One portfolio in an advisor's list."""

    portfolio_id: str
    last_update: datetime
    total_calculations: int
    current_risk_number: int | None
    average_calculation_time_ms: float


class RiskDistribution(msgspec.Struct):
    """Portfolios by band; those without a risk number are in none."""

    low: int
    moderate: int
    high: int


class SummaryBody(msgspec.Struct):
    """Totals. `total_value_at_risk` is the sum of the portfolios' own."""

    total_portfolios: int
    avg_risk_number: float
    total_value_at_risk: float
    high_risk_count: int
    risk_distribution: RiskDistribution


class HealthBody(msgspec.Struct):
    """`status` is healthy while Redis, Kafka and the engine answer, and degraded otherwise."""

    status: str
    uptime_seconds: float
    total_calculations: int
    avg_calculation_time_ms: float
    redis_connected: bool
    kafka_connected: bool
    active_portfolios: int
    stale: bool


class SimulationBody(msgspec.Struct):
    """An update that Kafka has acknowledged. `portfolio_value` is by our marks."""

    status: str
    message: str
    portfolio_id: str
    portfolio_value: str


class UpdateBody(msgspec.Struct):
    """An update that Kafka has acknowledged."""

    status: str
    message: str
    portfolio_id: str


class UpdateRequest(msgspec.Struct):
    """A portfolio as on the topic `portfolio-updates`."""

    portfolio: PortfolioUpdate


async def health(backend: Backend) -> HealthBody:
    """Whether answers can be relied on."""
    status = await backend.summary.status()
    return HealthBody(
        status="healthy" if status.healthy else "degraded",
        uptime_seconds=status.uptime_seconds,
        total_calculations=status.calculations,
        avg_calculation_time_ms=status.average_calculation_time_ms,
        redis_connected=status.redis_connected,
        kafka_connected=status.kafka_connected,
        active_portfolios=status.portfolios,
        stale=status.stale,
    )


async def portfolio_risk(backend: Backend, portfolio_id: Identifier) -> RiskBody:
    """The newest risk of one portfolio."""
    return await RiskBody.of(await _known_risk(backend, portfolio_id), backend)


async def portfolios_at_risk(backend: Backend, risk_threshold: RiskThreshold = 70) -> list[str]:
    """Ids of the portfolios with a risk number of the threshold or more, the riskiest first."""
    return await backend.listing.all_portfolios(Selection(min_risk_number=risk_threshold))


async def advisor_portfolios(backend: Backend, advisor_id: Identifier) -> list[AdvisorPortfolio]:
    """An advisor's portfolios, the riskiest first."""
    await _require_advisor(backend, advisor_id)
    ids = await backend.listing.all_portfolios(Selection(advisor_id))
    return [
        AdvisorPortfolio(
            portfolio_id=risk.portfolio_id,
            last_update=at(risk.calculated_at_ns),
            total_calculations=risk.calculations,
            current_risk_number=risk.risk_number,
            average_calculation_time_ms=risk.average_calculation_time_ms,
        )
        for risk in await backend.store.risks(ids)
        if risk is not None
    ]


async def metrics_summary(backend: Backend) -> SummaryBody:
    """Totals over all portfolios, at most a second old."""
    totals = await backend.summary.totals()
    return SummaryBody(
        total_portfolios=totals.portfolios,
        avg_risk_number=totals.average_risk_number or 0.0,
        total_value_at_risk=totals.total_value_at_risk,
        high_risk_count=totals.by_band[RiskBand.HIGH],
        risk_distribution=RiskDistribution(
            low=totals.by_band[RiskBand.LOW],
            moderate=totals.by_band[RiskBand.MODERATE],
            high=totals.by_band[RiskBand.HIGH],
        ),
    )


async def simulate_portfolio_update(
    backend: Backend,
    portfolio_id: Identifier,
    advisor_id: Identifier | None = None,
    risk_tolerance: RiskTolerance | None = None,
) -> SimulationBody:
    """Rebalance a portfolio at random; an unknown id becomes a small sample portfolio.

    A new portfolio belongs to advisor-1 and is Moderate unless said otherwise; a known one keeps what is not said.
    Answers after Kafka has acknowledged it.
    """
    accepted = await backend.updates.simulate(
        Simulation(portfolio_id, advisor_id=advisor_id, risk_tolerance=risk_tolerance)
    )
    return SimulationBody(
        status="success",
        message=f"portfolio update {accepted.at.topic}/{accepted.at.partition}/{accepted.at.offset} is published",
        portfolio_id=portfolio_id,
        portfolio_value=f"${await backend.updates.value(accepted.update):,.2f}",
    )


async def update_portfolio(backend: Backend, body: UpdateRequest) -> UpdateBody:
    """State a whole portfolio, as on the topic. Answers after Kafka has acknowledged it.

    It has 10,000 positions at most, one a symbol, and its body a million bytes.
    """
    try:
        accepted = await backend.updates.update(body.portfolio)
    except BadInput as error:
        raise type(error)(f"portfolio.{error.field}", error.detail) from error
    return UpdateBody(
        status="success",
        message=f"portfolio update {accepted.at.topic}/{accepted.at.partition}/{accepted.at.offset} is published",
        portfolio_id=accepted.update.id,
    )


async def stream_risk_updates(
    backend: Backend, portfolio_id: Identifier | None = None, advisor_id: Identifier | None = None
) -> EventStream:
    """Server-sent events: what is known now, then every change; of one portfolio, one advisor, or everyone.

    Each event is a risk body with its `reason` (SNAPSHOT, UPDATE, RESYNC or CLOSED). A comment keeps the line open.
    """
    if portfolio_id is not None:
        await _known_risk(backend, portfolio_id)
        events = backend.follow.portfolio(portfolio_id)
    elif advisor_id is not None:
        await _require_advisor(backend, advisor_id)
        events = backend.follow.advisor(advisor_id)
    else:
        await backend.store.ping()
        events = backend.follow.everyone()
    return EventStream(_told(events, backend))


ENDPOINTS = (
    Endpoint("GET", "/health", health, "Monitoring", EVERYONE),
    Endpoint("GET", "/risk/{portfolio_id}", portfolio_risk, "Risk", READERS, (404, 503)),
    Endpoint("GET", "/portfolios/at-risk", portfolios_at_risk, "Risk", READERS, (503,)),
    Endpoint("GET", "/advisor/{advisor_id}/portfolios", advisor_portfolios, "Risk", READERS, (404, 503)),
    Endpoint("GET", "/metrics/summary", metrics_summary, "Monitoring", READERS, (503,)),
    Endpoint("GET", "/stream/risk-updates", stream_risk_updates, "Risk", READERS, (404, 503)),
    Endpoint(
        "POST",
        "/simulate/portfolio-update",
        simulate_portfolio_update,
        "Changes",
        OPERATORS,
        (409, 503),
        aliases=("/simulate/portfolio", "/portfolio/simulate"),
    ),
    Endpoint("POST", "/portfolio/update", update_portfolio, "Changes", OPERATORS, (409, 503)),
)


async def _known_risk(backend: Backend, portfolio_id: str) -> RiskSnapshot:
    snapshot = await backend.store.risk(portfolio_id)
    if snapshot is None:
        raise unknown_portfolio(portfolio_id)
    return snapshot


async def _require_advisor(backend: Backend, advisor_id: str) -> None:
    if not await backend.store.is_advisor(advisor_id):
        raise unknown_advisor(advisor_id)


async def _told(events: AsyncGenerator[RiskEvent, None], backend: Backend) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            body = msgspec.to_builtins(await RiskBody.of(event.risk, backend))
            yield msgspec.json.encode(
                {"reason": event.reason.value, "previous_sequence": event.previous_sequence} | body
            )
