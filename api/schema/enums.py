"""The enumerations of the shared language, under the same names in GraphQL."""

from __future__ import annotations

import strawberry

from api.batches import BatchReason
from api.follow import AtRiskMove, RiskEventReason
from plimsoll.messages import RiskTolerance
from plimsoll.risk.alignment import Verdict
from plimsoll.risk.backtest import Zone
from plimsoll.risk.limits import LimitCode
from plimsoll.risk.score import RiskBand

__all__ = [
    "AtRiskMove",
    "BatchReason",
    "LimitCode",
    "RiskBand",
    "RiskEventReason",
    "RiskTolerance",
    "Verdict",
    "Zone",
]

# Each call leaves the class as it is and notes on it how GraphQL spells it.
strawberry.enum(RiskBand, description="LOW below 30, MODERATE from 30, HIGH from 70.")
strawberry.enum(RiskTolerance, description="How much risk the client asked for.")
strawberry.enum(
    RiskEventReason,
    description=(
        "SNAPSHOT: the present state, first. UPDATE: a newer one. RESYNC: the stream was interrupted and is whole "
        "again, or `stale` changed; may repeat the last one. CLOSED: the portfolio is closed (or, among an advisor's, "
        "no longer theirs); `risk` is the last one known."
    ),
)
strawberry.enum(
    AtRiskMove,
    description=(
        "ENTERED: at or above the threshold. UPDATED: still at risk, down to 3 points below it. LEFT: below that, or "
        "closed."
    ),
)
strawberry.enum(
    BatchReason,
    name="RiskBatchReason",
    description=(
        "BEGIN: first, and empty; read `portfolios` now, nothing that happens from here on is missed. UPDATE: what "
        "changed; empty where only `stale` did. RESYNC: something may have been missed; read `portfolios` again."
    ),
)
strawberry.enum(
    Verdict,
    name="AlignmentVerdict",
    description="ALIGNED: up to 10 points from the client's tolerance. TOO_RISKY: above. TOO_CAUTIOUS: below.",
)
strawberry.enum(LimitCode, description="Stable codes: programs may rely on them. NO_VALUE: nothing else is judged.")
strawberry.enum(
    Zone,
    name="BacktestZone",
    description="Basel's traffic light; at 99 % over 250 days GREEN up to 4 exceptions, YELLOW up to 9, RED above.",
)
