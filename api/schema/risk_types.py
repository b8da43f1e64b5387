"""What we say about risk: one portfolio's snapshot, what-if, stresses, several portfolios as one.

Money is in the reporting currency. What ends in `Fraction` is a fraction of market value, and null where that is not
positive. Value at risk and expected shortfall are positive for a loss; P&L and drawdown are negative for one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from api import on_demand
from api.schema.enums import RiskBand, RiskTolerance
from api.schema.scalars import Sequence, at
from plimsoll import messages
from plimsoll.risk.score import risk_band


def band_of(number: int | None) -> RiskBand | None:
    """The band of a risk number, where there is one."""
    return None if number is None else risk_band(number)


@strawberry.type(
    description=(
        "All we say about one portfolio at one sequence. Money in the reporting currency; losses are positive in value "
        "at risk and expected shortfall. Fractions are of market value and null where that is not positive."
    )
)
class RiskSnapshot:
    """A `messages.RiskSnapshot`, and how old it is for whoever asks."""

    portfolio_id: strawberry.ID
    advisor_id: strawberry.ID
    client_id: strawberry.ID | None
    risk_tolerance: RiskTolerance
    sequence: Sequence
    as_of: datetime = strawberry.field(description="Event time of the newest update or price in it.")
    calculated_at: datetime
    market_value: float
    gross_exposure: float
    net_exposure: float
    cash: float
    var_95: float = strawberry.field(description="One-day value at risk at 95 %; a loss is positive.")
    var_99: float
    es_975: float = strawberry.field(description="One-day expected shortfall at 97.5 %; a loss is positive.")
    var_95_fraction: float | None
    var_99_fraction: float | None
    es_975_fraction: float | None
    volatility: float | None = strawberry.field(description="Annual, a fraction.")
    expected_return: float | None = strawberry.field(description="Annual, a fraction.")
    sharpe_ratio: float | None
    beta: float | None = strawberry.field(description="Against the benchmark of the scenario set.")
    max_drawdown: float | None = strawberry.field(description="A fraction; a loss is negative.")
    effective_names: float | None = strawberry.field(description="How many equal positions would be as concentrated.")
    risk_number: int | None = strawberry.field(
        description="1 to 99, from the hypothetical loss over six months with 95 % confidence."
    )
    risk_band: RiskBand | None
    day_pnl: float = strawberry.field(description="Since the last close; a loss is negative.")
    method: str
    horizon_days: int
    observations: int
    scenario_set_id: strawberry.ID
    var_95_scenario_date: str = strawberry.field(description="The session whose scenario is the value at risk.")
    coverage: float = strawberry.field(description="Share of gross exposure with a price history of its own.")
    incomplete_symbols: list[str] = strawberry.field(description="Held, but without a price: in no number here.")
    proxied_symbols: list[str] = strawberry.field(description="Priced, but valued by a proxy for their history.")
    stale: bool = strawberry.field(description="The engine has been silent for too long: believe the times above.")
    price_age_ms: float | None = strawberry.field(description="Age of the oldest price in it, at the time of reading.")
    calculation_time_ms: float

    @classmethod
    def of(cls, snapshot: messages.RiskSnapshot, now_ns: int, *, stale: bool) -> RiskSnapshot:
        """A snapshot as it stands at `now_ns`."""
        oldest_ns = snapshot.oldest_price_ns
        return cls(
            portfolio_id=strawberry.ID(snapshot.portfolio_id),
            advisor_id=strawberry.ID(snapshot.advisor_id),
            client_id=None if snapshot.client_id is None else strawberry.ID(snapshot.client_id),
            sequence=Sequence(snapshot.sequence),
            as_of=at(snapshot.as_of_ns),
            calculated_at=at(snapshot.calculated_at_ns),
            scenario_set_id=strawberry.ID(snapshot.scenario_set_id),
            risk_band=band_of(snapshot.risk_number),
            stale=stale,
            price_age_ms=None if oldest_ns is None else (now_ns - oldest_ns) / 1e6,
            **{name: getattr(snapshot, name) for name in _AS_THEY_ARE},
        )


_AS_THEY_ARE = (
    "risk_tolerance", "market_value", "gross_exposure", "net_exposure", "cash", "var_95", "var_99", "es_975",
    "var_95_fraction", "var_99_fraction", "es_975_fraction", "volatility", "expected_return", "sharpe_ratio", "beta",
    "max_drawdown", "effective_names", "risk_number", "day_pnl", "method", "horizon_days", "observations",
    "var_95_scenario_date", "coverage", "incomplete_symbols", "proxied_symbols", "calculation_time_ms",
)  # fmt: skip


@strawberry.type(description="After minus before; null where either is.")
class RiskDifference:
    """What trades change."""

    market_value: float
    gross_exposure: float
    net_exposure: float
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
    day_pnl: float

    @classmethod
    def between(cls, before: messages.RiskSnapshot, after: messages.RiskSnapshot) -> RiskDifference:
        """Every measure of `after` minus that of `before`."""
        pairs: dict[str, Any] = {name: (getattr(before, name), getattr(after, name)) for name in cls.__annotations__}
        difference: dict[str, Any] = {name: None if None in pair else pair[1] - pair[0] for name, pair in pairs.items()}
        return cls(**difference)


@strawberry.type(description="A portfolio's risk before and after trades, with the marks of this moment. Hypothetical.")
class WhatIf:
    """Nothing was changed."""

    before: RiskSnapshot
    after: RiskSnapshot
    difference: RiskDifference


@strawberry.type(description="A position as reported. What depends on a mark is null where the symbol has none.")
class Holding:
    """An `on_demand.Holding`."""

    symbol: str
    sector: str | None
    quantity: float = strawberry.field(description="Negative is a short position.")
    mark: float | None = strawberry.field(description="The price it is valued with.")
    marked_at: datetime | None
    mark_age_ms: float | None
    market_value: float | None
    weight_fraction: float | None
    day_pnl: float | None = strawberry.field(description="Since the last close; a loss is negative.")

    @classmethod
    def of(cls, holding: on_demand.Holding, now_ns: int) -> Holding:
        """A holding as it stands at `now_ns`."""
        marked_ns = holding.marked_at_ns
        return cls(
            symbol=holding.symbol,
            sector=holding.sector,
            quantity=holding.quantity,
            mark=holding.mark,
            marked_at=None if marked_ns is None else at(marked_ns),
            mark_age_ms=None if marked_ns is None else (now_ns - marked_ns) / 1e6,
            market_value=holding.market_value,
            weight_fraction=holding.weight_fraction,
            day_pnl=holding.day_pnl,
        )


@strawberry.type(description="What a stress does to one holding.")
class StressedHolding:
    """An `on_demand.StressedHolding`."""

    symbol: str
    return_fraction: float = strawberry.field(description="Of the holding's own value: -0.3 is a fall of 30 per cent.")
    pnl: float
    basis: str = strawberry.field(description="own: its own return then; beta: beta times the index.")


@strawberry.type(
    description="What a fall of the market in the past would do to the portfolio as it is now. Hypothetical."
)
class StressResult:
    """An `on_demand.StressResult`."""

    id: strawberry.ID
    name: str
    first_session: str
    last_session: str
    index_return: float = strawberry.field(description="Of the S&P 500, a fraction.")
    pnl: float = strawberry.field(description="A loss is negative.")
    pnl_fraction: float | None
    own_share_fraction: float = strawberry.field(
        description="Share of gross exposure that repeats its own return; the rest follows the index by its beta."
    )
    holdings: list[StressedHolding] = strawberry.field(description="The worst first.")
    incomplete_symbols: list[str]

    @classmethod
    def of(cls, result: on_demand.StressResult) -> StressResult:
        """A stress result in words of the schema."""
        return cls(
            id=strawberry.ID(result.stress.id),
            name=result.stress.name,
            first_session=result.stress.first_session,
            last_session=result.stress.last_session,
            index_return=result.stress.index_return,
            pnl=result.pnl,
            pnl_fraction=result.pnl_fraction,
            own_share_fraction=result.own_share_fraction,
            holdings=[
                StressedHolding(symbol=h.symbol, return_fraction=h.return_fraction, pnl=h.pnl, basis=h.basis)
                for h in result.holdings
            ],
            incomplete_symbols=result.incomplete_symbols,
        )


@strawberry.type(description="One minute of a portfolio's history.")
class RiskPoint:
    """A `messages.RiskPoint`."""

    sequence: Sequence
    as_of: datetime
    market_value: float
    var_95: float
    es_975: float
    volatility: float | None
    risk_number: int | None
    risk_band: RiskBand | None

    @classmethod
    def of(cls, point: messages.RiskPoint) -> RiskPoint:
        """A point in words of the schema."""
        return cls(
            sequence=Sequence(point.sequence),
            as_of=at(point.as_of_ns),
            market_value=point.market_value,
            var_95=point.var_95,
            es_975=point.es_975,
            volatility=point.volatility,
            risk_number=point.risk_number,
            risk_band=band_of(point.risk_number),
        )


@strawberry.type(
    description=(
        "Several portfolios measured as one, from the sum of their scenario P&L: value at risk does not add. Zeros "
        "where nothing is known yet."
    )
)
class AggregateRisk:
    """An `on_demand.Aggregate`."""

    scope: str = strawberry.field(description="firm, or the advisor's id.")
    portfolios: int
    partial: bool = strawberry.field(description="Some portfolios or workers are not in it at this moment.")
    scenario_set_id: strawberry.ID | None
    as_of: datetime | None
    observations: int
    market_value: float = 0.0
    gross_exposure: float = 0.0
    net_exposure: float = 0.0
    cash: float = 0.0
    var_95: float = 0.0
    var_99: float = 0.0
    es_975: float = 0.0
    var_95_fraction: float | None = None
    var_99_fraction: float | None = None
    es_975_fraction: float | None = None
    volatility: float | None = None
    expected_return: float | None = None
    sharpe_ratio: float | None = None
    beta: float | None = strawberry.field(default=None, description="Null while the scenario set rolls.")
    max_drawdown: float | None = None
    risk_number: int | None = None
    risk_band: RiskBand | None = None
    day_pnl: float = 0.0
    coverage: float = 0.0

    @classmethod
    def of(cls, scope: str, aggregate: on_demand.Aggregate) -> AggregateRisk:
        """An aggregate in words of the schema."""
        measured = dict(aggregate.measured or {})
        measured.pop("effective_names", None)  # a sum of P&L does not say what is held
        number = measured.get("risk_number")
        return cls(
            scope=scope,
            portfolios=aggregate.portfolios,
            partial=aggregate.partial,
            scenario_set_id=None if aggregate.scenario_set_id is None else strawberry.ID(aggregate.scenario_set_id),
            as_of=None if aggregate.as_of_ns is None else at(aggregate.as_of_ns),
            observations=aggregate.observations,
            risk_band=band_of(None if number is None else int(number)),
            **measured,  # type: ignore[arg-type]  # named after the fields above
        )
