"""The enumerations of the shared language, under the same names in GraphQL."""

from __future__ import annotations

import strawberry

from api.follow import AtRiskMove, RiskEventReason
from plimsoll.messages import RiskTolerance
from plimsoll.risk.score import RiskBand

__all__ = ["AtRiskMove", "RiskBand", "RiskEventReason", "RiskTolerance"]

# Each call leaves the class as it is and notes on it how GraphQL spells it.
strawberry.enum(RiskBand, description="LOW below 30, MODERATE from 30, HIGH from 70.")
strawberry.enum(RiskTolerance, description="How much risk the client asked for.")
strawberry.enum(
    RiskEventReason,
    description=(
        "SNAPSHOT: the present state, first. UPDATE: a newer one. RESYNC: the stream was interrupted and is whole "
        "again; may repeat the last one. CLOSED: the portfolio is closed (or, among an advisor's, no longer theirs); "
        "`risk` is the last one known."
    ),
)
strawberry.enum(
    AtRiskMove, description="ENTERED: at or above the threshold. UPDATED: still. LEFT: below it, or closed."
)
