"""Everything one can follow: the present state first, then what changes. See `follow` for the order of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry

from api import follow
from api.errors import require_identifier
from api.listing import require_number
from api.schema.described import subscription
from api.schema.enums import AtRiskMove, RiskEventReason
from api.schema.operation import Info
from api.schema.portfolio_types import present
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


@strawberry.type
class Subscription:
    """The live side of the contract. A slow reader sees fewer events, never stale ones."""

    @subscription
    async def portfolio_risk(self, info: Info, portfolio_id: strawberry.ID) -> AsyncGenerator[RiskEvent, None]:
        """The current snapshot of a portfolio, then every newer one; ends with CLOSED.

        NOT_FOUND for an unknown portfolio.
        """
        events = info.context.backend.follow.portfolio(require_identifier(portfolio_id, "portfolioId"))
        async with aclosing(events):
            async for event in events:
                yield await _risk_event(info, event)

    @subscription
    async def advisor_risk(self, info: Info, advisor_id: strawberry.ID) -> AsyncGenerator[RiskEvent, None]:
        """Each present portfolio of an advisor, then all that changes. NOT_FOUND for an advisor without portfolios."""
        events = info.context.backend.follow.advisor(require_identifier(advisor_id, "advisorId"))
        async with aclosing(events):
            async for event in events:
                yield await _risk_event(info, event)

    @subscription
    async def at_risk(self, info: Info, risk_threshold: int = 70) -> AsyncGenerator[AtRiskChange, None]:
        """Who is at risk now, the riskiest first, then who enters, changes and leaves.

        A portfolio enters with a risk number of the threshold (1 to 99) or more, and leaves with one more than 3 points
        below it, so that a price cannot make it come and go. `atRiskPortfolios` knows no past, and goes by the
        threshold alone.
        """
        changes = info.context.backend.follow.at_risk(require_number(risk_threshold, "riskThreshold"))
        async with aclosing(changes):
            async for change in changes:
                yield AtRiskChange(change=change.change, risk=await present(info, change.risk))


async def _risk_event(info: Info, event: follow.RiskEvent) -> RiskEvent:
    previous = event.previous_sequence
    return RiskEvent(
        reason=event.reason,
        previous_sequence=None if previous is None else Sequence(previous),
        risk=await present(info, event.risk),
    )
