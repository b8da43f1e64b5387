"""Everything one can follow: the present state, or that it can be read now, then what changes. The order: `follow`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import strawberry

from api import batches, follow, frames
from api.backend import Backend
from api.errors import BadInput, require_identifier
from api.listing import require_number
from api.schema.described import subscription
from api.schema.enums import AtRiskMove, BatchReason, RiskEventReason
from api.schema.operation import Info
from api.schema.risk_types import RiskSnapshot
from api.schema.scalars import Sequence


@strawberry.type(description="A whole snapshot and why it came: missing one does no harm.")
class RiskEvent:
    """A `follow.RiskEvent`."""

    reason: RiskEventReason
    previous_sequence: Sequence | None = strawberry.field(
        description="Of this portfolio's event before on this stream; null on the first."
    )
    risk: RiskSnapshot


@strawberry.type
class AtRiskChange:
    """A `follow.AtRiskChange`."""

    change: AtRiskMove
    risk: RiskSnapshot


@strawberry.type(
    description=(
        "The changes of many portfolios since the batch before. Merge by `sequence`: of two snapshots of one portfolio "
        "keep the larger."
    )
)
class RiskBatch:
    """A `batches.Batch`."""

    reason: BatchReason
    risks: list[RiskSnapshot] = strawberry.field(
        description="The newest snapshot of each portfolio that changed, once; in no order."
    )
    closed: list[strawberry.ID] = strawberry.field(
        description="Portfolios that are closed or, among an advisor's, no longer theirs. None of them is in `risks`."
    )
    stale: bool = strawberry.field(description="The engine has been silent for too long: every row is old.")


Stream = (
    AsyncGenerator[follow.RiskEvent, None]
    | AsyncGenerator[follow.AtRiskChange, None]
    | AsyncGenerator[batches.Batch, None]
)
INTERVAL_MS_MIN, INTERVAL_MS_MAX = 100, 5_000
"""Oftener no eye can follow; and who waits longer may as well ask."""


def portfolio_stream(backend: Backend, arguments: Mapping[str, Any]) -> AsyncGenerator[follow.RiskEvent, None]:
    """Events of one portfolio. Raises `BadInput`."""
    return backend.follow.portfolio(require_identifier(arguments["portfolioId"], "portfolioId"))


def advisor_stream(backend: Backend, arguments: Mapping[str, Any]) -> AsyncGenerator[follow.RiskEvent, None]:
    """Events of an advisor's portfolios. Raises `BadInput`."""
    return backend.follow.advisor(require_identifier(arguments["advisorId"], "advisorId"))


def at_risk_stream(backend: Backend, arguments: Mapping[str, Any]) -> AsyncGenerator[follow.AtRiskChange, None]:
    """Changes of the list of those at risk. Raises `BadInput`."""
    return backend.follow.at_risk(require_number(arguments["riskThreshold"], "riskThreshold"))


def batch_stream(backend: Backend, arguments: Mapping[str, Any]) -> AsyncGenerator[batches.Batch, None]:
    """Batches of an advisor's portfolios, or of everyone's. Raises `BadInput`."""
    advisor_id, interval_ms = arguments.get("advisorId"), arguments["intervalMs"]
    if advisor_id is not None:
        require_identifier(advisor_id, "advisorId")
    if not INTERVAL_MS_MIN <= interval_ms <= INTERVAL_MS_MAX:
        raise BadInput("intervalMs", f"{interval_ms} is not between {INTERVAL_MS_MIN} and {INTERVAL_MS_MAX}")
    return backend.follow.batches(advisor_id, interval_ms / 1e3)


STREAMS: Mapping[str, Callable[[Backend, Mapping[str, Any]], Stream]] = {
    "portfolioRisk": portfolio_stream,
    "advisorRisk": advisor_stream,
    "atRisk": at_risk_stream,
    "riskBatches": batch_stream,
}
"""The stream behind each field below, from the field's arguments: whoever shares one stream among many begins here."""


@strawberry.type
class Subscription:
    """The live side of the contract. A slow reader sees fewer events, never stale ones."""

    @subscription
    async def portfolio_risk(self, info: Info, portfolio_id: strawberry.ID) -> AsyncGenerator[RiskEvent, None]:
        """The current snapshot of a portfolio, then every newer one; ends with CLOSED.

        NOT_FOUND for an unknown portfolio.
        """
        async with aclosing(portfolio_stream(info.context.backend, {"portfolioId": portfolio_id})) as events:
            async for event in events:
                yield _risk_event(event, *await _moment(info))

    @subscription
    async def advisor_risk(self, info: Info, advisor_id: strawberry.ID) -> AsyncGenerator[RiskEvent, None]:
        """Each present portfolio of an advisor, then all that changes. NOT_FOUND for an advisor without portfolios."""
        async with aclosing(advisor_stream(info.context.backend, {"advisorId": advisor_id})) as events:
            async for event in events:
                yield _risk_event(event, *await _moment(info))

    @subscription
    async def at_risk(self, info: Info, risk_threshold: int = 70) -> AsyncGenerator[AtRiskChange, None]:
        """Who is at risk now, the riskiest first, then who enters, changes and leaves.

        A portfolio enters with a risk number of the threshold (1 to 99) or more, and leaves with one more than 3 points
        below it, so that a price cannot make it come and go. `atRiskPortfolios` knows no past, and goes by the
        threshold alone.
        """
        async with aclosing(at_risk_stream(info.context.backend, {"riskThreshold": risk_threshold})) as changes:
            async for change in changes:
                yield _at_risk_change(change, *await _moment(info))

    @subscription
    async def risk_batches(
        self, info: Info, advisor_id: strawberry.ID | None = None, interval_ms: int = 250
    ) -> AsyncGenerator[RiskBatch, None]:
        """All that changes, in batches, for pages that show many portfolios. BEGIN comes first: read `portfolios` then.

        One batch each interval at the most, with the newest of each portfolio; after a quiet interval a change is told
        at once, and none comes while nothing changes. Of an advisor's portfolios, or of all that the caller may see.
        NOT_FOUND for an advisor without portfolios.
        """
        arguments = {"advisorId": advisor_id, "intervalMs": interval_ms}
        async with aclosing(batch_stream(info.context.backend, arguments)) as told:
            async for batch in told:
                yield _risk_batch(batch, *await _moment(info))


def payload_of(event: frames.Event, now_ns: int, stale: bool) -> RiskEvent | AtRiskChange | RiskBatch:
    """An event in words of the schema, as it stands at `now_ns`."""
    if isinstance(event, batches.Batch):
        return _risk_batch(event, now_ns, stale)
    if isinstance(event, follow.AtRiskChange):
        return _at_risk_change(event, now_ns, stale)
    return _risk_event(event, now_ns, stale)


def _risk_event(event: follow.RiskEvent, now_ns: int, stale: bool) -> RiskEvent:
    previous = event.previous_sequence
    return RiskEvent(
        reason=event.reason,
        previous_sequence=None if previous is None else Sequence(previous),
        risk=RiskSnapshot.of(event.risk, now_ns, stale=stale),
    )


def _at_risk_change(change: follow.AtRiskChange, now_ns: int, stale: bool) -> AtRiskChange:
    return AtRiskChange(change=change.change, risk=RiskSnapshot.of(change.risk, now_ns, stale=stale))


def _risk_batch(batch: batches.Batch, now_ns: int, stale: bool) -> RiskBatch:
    return RiskBatch(
        reason=batch.reason,
        risks=[RiskSnapshot.of(risk, now_ns, stale=stale) for risk in batch.risks.values()],
        closed=[strawberry.ID(each) for each in batch.closed],
        stale=stale,
    )


async def _moment(info: Info) -> tuple[int, bool]:
    """Now, and whether the engine is silent."""
    backend = info.context.backend
    return backend.clock(), await backend.engine.is_stale()
