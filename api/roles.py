"""Who may ask for what: a row for every field at the top of the schema and every route. What has no row is refused.

An advisor reads, of their own portfolios, everything. A risk manager reads everything. An operator changes portfolios
and sees whether the system works, but neither positions nor risk. This is the first of two doors: `Backend.seen_by` is
the second, and would tell whoever slipped through here nothing that is not theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphql import OperationType

from api.errors import Forbidden
from api.identity import Caller, Role

READERS = frozenset({Role.ADVISOR, Role.RISK_MANAGER})
OPERATORS = frozenset({Role.OPERATOR})
EVERYONE = frozenset(Role)
"""Whoever was let in, which takes a role."""

QUERIES = {
    "portfolio": READERS,
    "portfolioRisk": READERS,
    "portfolios": READERS,
    "atRiskPortfolios": READERS,
    "advisor": READERS,
    "advisors": READERS,
    "firmRisk": READERS,
    "whatIf": READERS,
    "stress": READERS,
    "shock": READERS,
    "contributions": READERS,
    "alternatives": READERS,
    "backtest": READERS,
    "riskHistory": READERS,
    "metricsSummary": READERS,
    "node": READERS,
    "systemStatus": EVERYONE,
}
MUTATIONS = {
    "simulatePortfolioUpdate": OPERATORS,
    "updatePortfolio": OPERATORS,
    "simulateMarketShock": OPERATORS,
}
SUBSCRIPTIONS = {
    "portfolioRisk": READERS,
    "advisorRisk": READERS,
    "atRisk": READERS,
    "riskBatches": READERS,
}
_OF_THE_LANGUAGE = dict.fromkeys(("__typename", "__schema", "__type"), EVERYONE)
"""They speak of the schema, which is no secret from whoever is let in."""
FIELDS = {
    OperationType.QUERY: QUERIES | _OF_THE_LANGUAGE,
    OperationType.MUTATION: MUTATIONS | _OF_THE_LANGUAGE,
    OperationType.SUBSCRIPTION: SUBSCRIPTIONS | _OF_THE_LANGUAGE,
}

OPEN_PATHS = frozenset({"/", "/live", "/ready", "/docs", "/openapi.json", "/favicon.ico"})
"""Routes that tell nothing of portfolios, and that probes and people who are about to sign in need."""
OPEN_BELOW = ("/pages/",)
PEER_PATHS = frozenset({"/metrics"})
"""Counters: for operators, and without sign-in for whoever asks from this machine, as a scraper beside us does. What
says how much risk there is, is left out for those who may not see everyone's (`Metrics.text`)."""


def require_roles(caller: Caller, kind: OperationType, root_fields: Iterable[str]) -> None:
    """Raises `Forbidden` naming the first field at the top of an operation that a caller may not ask for."""
    allowed = FIELDS[kind]
    for name in root_fields:
        _require(caller, allowed.get(name, frozenset()), f"{kind.value} {name}")
    if not caller.roles:
        _require(caller, frozenset(), kind.value)


def require_route(caller: Caller, roles: frozenset[Role], route: str) -> None:
    """Raises `Forbidden` where a route is for none of a caller's roles."""
    _require(caller, roles, route)


def _require(caller: Caller, allowed: frozenset[Role], what: str) -> None:
    if allowed.isdisjoint(caller.roles):
        mine = ", ".join(sorted(caller.roles)) or "nobody"
        whose = " or ".join(sorted(allowed)) or "nobody"
        raise Forbidden(f"{what[:80]} is for {whose}, and not for {mine}; ask with another role")
