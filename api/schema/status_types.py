"""The state of everything: totals over all portfolios, and whether answers can be relied on."""

from __future__ import annotations

from datetime import datetime

import strawberry

from api import summary
from api.schema.scalars import Sequence, at
from plimsoll import messages
from plimsoll.risk.score import RiskBand


@strawberry.type(description="Portfolios by band; those without a risk number are in none.")
class RiskDistribution:
    """How many of each."""

    low: int
    moderate: int
    high: int


@strawberry.type
class MetricsSummary:
    """A `summary.Totals`."""

    total_portfolios: int
    average_risk_number: float | None
    total_value_at_risk: float = strawberry.field(
        description="The sum of the portfolios' own at 95 %. It does not diversify: `firmRisk` does."
    )
    high_risk_count: int
    risk_distribution: RiskDistribution

    @classmethod
    def of(cls, totals: summary.Totals) -> MetricsSummary:
        """Totals in words of the schema."""
        return cls(
            total_portfolios=totals.portfolios,
            average_risk_number=totals.average_risk_number,
            total_value_at_risk=totals.total_value_at_risk,
            high_risk_count=totals.by_band[RiskBand.HIGH],
            risk_distribution=RiskDistribution(
                low=totals.by_band[RiskBand.LOW],
                moderate=totals.by_band[RiskBand.MODERATE],
                high=totals.by_band[RiskBand.HIGH],
            ),
        )


@strawberry.type(description="What an engine worker said of itself last.")
class EngineWorker:
    """A `messages.Heartbeat`."""

    worker_index: int
    workers: int
    state: str
    started_at: datetime
    beat_at: datetime
    portfolios: int
    applied: Sequence
    stale: Sequence = strawberry.field(description="Records that said nothing new.")
    dead_lettered: Sequence
    calculations: Sequence
    published: Sequence
    average_calculation_time_ms: float
    scenario_set_id: strawberry.ID | None
    last_session: str | None
    market_source: str | None = strawberry.field(description="`replay`: historical prices, never live ones.")

    @classmethod
    def of(cls, beat: messages.Heartbeat) -> EngineWorker:
        """A heartbeat in words of the schema."""
        return cls(
            worker_index=beat.worker_index,
            workers=beat.workers,
            state=beat.state,
            started_at=at(beat.started_at_ns),
            beat_at=at(beat.beat_at_ns),
            portfolios=beat.portfolios,
            applied=Sequence(str(beat.applied)),
            stale=Sequence(str(beat.stale)),
            dead_lettered=Sequence(str(beat.dead_lettered)),
            calculations=Sequence(str(beat.calculations)),
            published=Sequence(str(beat.published)),
            average_calculation_time_ms=beat.average_calculation_time_ms,
            scenario_set_id=None if beat.scenario_set_id is None else strawberry.ID(beat.scenario_set_id),
            last_session=beat.last_session,
            market_source=beat.market_source,
        )


@strawberry.type(description="Prices are historical ones, played again: never take them for live ones.")
class Replay:
    """A `messages.Replay`."""

    session: str = strawberry.field(description="The trading day that prices are of, as YYYY-MM-DD.")
    session_seconds: float = strawberry.field(
        description="In how many seconds one trading day is played; 0 where prices stand still at its close."
    )

    @classmethod
    def of(cls, replay: messages.Replay) -> Replay:
        """A replay in words of the schema."""
        return cls(session=replay.session, session_seconds=replay.session_seconds)


@strawberry.type
class SystemStatus:
    """A `summary.Status`."""

    status: str = strawberry.field(description="healthy: Redis, Kafka and the engine answer; else degraded.")
    uptime_seconds: float
    redis_connected: bool
    kafka_connected: bool
    stale: bool = strawberry.field(description="The engine has been silent for too long.")
    active_portfolios: int
    total_calculations: Sequence
    average_calculation_time_ms: float
    workers: list[EngineWorker]
    replay: Replay | None = strawberry.field(description="Null where the newest price is not of a replay.")

    @classmethod
    def of(cls, status: summary.Status) -> SystemStatus:
        """A status in words of the schema."""
        return cls(
            status="healthy" if status.healthy else "degraded",
            uptime_seconds=status.uptime_seconds,
            redis_connected=status.redis_connected,
            kafka_connected=status.kafka_connected,
            stale=status.stale,
            active_portfolios=status.portfolios,
            total_calculations=Sequence(str(status.calculations)),
            average_calculation_time_ms=status.average_calculation_time_ms,
            workers=[EngineWorker.of(beat) for beat in status.crew],
            replay=None if status.replay is None else Replay.of(status.replay),
        )
