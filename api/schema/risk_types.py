"""What we say about risk: one portfolio's snapshot, the difference of two, several portfolios as one.

Money is in the reporting currency. What ends in `Fraction` is a fraction of market value, and null where that is not
positive. Value at risk and expected shortfall are positive for a loss; P&L and drawdown are negative for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import strawberry

from api import aggregates
from api.listing import NUMBER_MAX, NUMBER_MIN
from api.schema.enums import RiskBand, RiskTolerance, Verdict
from api.schema.scalars import Sequence, at
from api.schema.views import View
from plimsoll import messages
from plimsoll.risk import alignment
from plimsoll.risk.score import risk_band


def band_of(number: int | None) -> RiskBand | None:
    """The band of a risk number, where there is one."""
    return None if number is None else _BANDS.get(number) or risk_band(number)


_BANDS = {number: risk_band(number) for number in range(NUMBER_MIN, NUMBER_MAX + 1)}


@strawberry.type(description="The client's tolerance beside the risk number. It never bends the number.")
class Alignment:
    """An `alignment.Alignment`."""

    tolerance_number: int = strawberry.field(
        description="The tolerance as a risk number: CONSERVATIVE 35, MODERATE 50, AGGRESSIVE 70."
    )
    gap: int = strawberry.field(
        description="Risk number less tolerance number: positive where the portfolio is riskier."
    )
    verdict: Verdict

    @classmethod
    def of(cls, snapshot: messages.RiskSnapshot) -> Alignment | None:
        """How a snapshot compares with its client's tolerance; None where it has no number."""
        beside = alignment.alignment(snapshot.risk_number, snapshot.risk_tolerance.value)
        return None if beside is None else cls(**beside._asdict())


@strawberry.type(
    description=(
        "All we say about one portfolio at one sequence. Money in the reporting currency; losses are positive in value "
        "at risk and expected shortfall. Fractions are of market value and null where that is not positive,"
        " and where nothing that is held can be valued."
    )
)
class RiskSnapshot(View):
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
    long_exposure: float
    short_exposure: float = strawberry.field(description="Negative, so that long and short add up to net.")
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
    sortino_ratio: float | None = strawberry.field(description="As the Sharpe ratio, over what fell short only.")
    beta: float | None = strawberry.field(description="Against the benchmark of the scenario set.")
    tracking_error: float | None = strawberry.field(description="Against the same benchmark; annual, a fraction.")
    max_drawdown: float | None = strawberry.field(description="A fraction; a loss is negative.")
    effective_names: float | None = strawberry.field(description="How many equal positions would be as concentrated.")
    risk_number: int | None = strawberry.field(
        description=(
            "1 to 99, from the hypothetical loss over six months with 95 % confidence; current: as volatile as now."
        )
    )
    risk_number_structural: int | None = strawberry.field(
        description="The same, as volatile as over the long run: five years where history allows."
    )
    risk_band: RiskBand | None
    alignment: Alignment | None = strawberry.field(description="Null where there is no risk number.")
    day_pnl: float = strawberry.field(description="Since the last close; a loss is negative.")
    method: str
    horizon_days: int
    observations: int
    scenario_set_id: strawberry.ID
    var_95_scenario_date: str = strawberry.field(description="The session whose scenario is the value at risk.")
    coverage: float = strawberry.field(description="Share of gross exposure with a price history of its own.")
    incomplete_symbols: list[str] = strawberry.field(
        description="Held, but in no number here: without a price, or without the returns to value it with."
    )
    proxied_symbols: list[str] = strawberry.field(description="Priced, but valued by a proxy for their history.")
    stale: bool = strawberry.field(description="The engine has been silent for too long: believe the times above.")
    price_age_ms: float | None = strawberry.field(description="Age of the oldest price in it, at the time of reading.")
    calculation_time_ms: float

    now_ns: strawberry.Private[int]
    is_stale: strawberry.Private[bool]

    derived: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "as_of": lambda view: at(view.message.as_of_ns),
        "calculated_at": lambda view: at(view.message.calculated_at_ns),
        "risk_band": lambda view: band_of(view.message.risk_number),
        "alignment": lambda view: Alignment.of(view.message),
        "stale": lambda view: view.is_stale,
        "price_age_ms": lambda view: age_ms(view.message.oldest_price_ns, view.now_ns),
    }

    @classmethod
    def of(cls, snapshot: messages.RiskSnapshot, now_ns: int, *, stale: bool) -> RiskSnapshot:
        """A snapshot as it stands at `now_ns`."""
        view = cls.over(snapshot)
        view.now_ns = now_ns
        view.is_stale = stale
        return view


def age_ms(time_ns: int | None, now_ns: int) -> float | None:
    """How long ago something was, milliseconds; None where it never was."""
    return None if time_ns is None else (now_ns - time_ns) / 1e6


@strawberry.type(description="After minus before; null where either is.")
class RiskDifference:
    """What trades change."""

    market_value: float
    gross_exposure: float
    net_exposure: float
    long_exposure: float
    short_exposure: float
    var_95: float
    var_99: float
    es_975: float
    var_95_fraction: float | None
    var_99_fraction: float | None
    es_975_fraction: float | None
    volatility: float | None
    expected_return: float | None
    sharpe_ratio: float | None
    sortino_ratio: float | None
    beta: float | None
    tracking_error: float | None
    max_drawdown: float | None
    effective_names: float | None
    risk_number: int | None
    risk_number_structural: int | None
    day_pnl: float

    @classmethod
    def between(cls, before: messages.RiskSnapshot, after: messages.RiskSnapshot) -> RiskDifference:
        """Every measure of `after` minus that of `before`."""
        pairs: dict[str, Any] = {name: (getattr(before, name), getattr(after, name)) for name in cls.__annotations__}
        difference: dict[str, Any] = {name: None if None in pair else pair[1] - pair[0] for name, pair in pairs.items()}
        return cls(**difference)


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
        "where nothing is known yet. Losses are hypothetical."
    )
)
class AggregateRisk:
    """An `aggregates.Aggregate`."""

    scope: str = strawberry.field(description="firm, or the advisor's id.")
    portfolios: int
    partial: bool = strawberry.field(description="Some portfolios or workers are not in it at this moment.")
    scenario_set_id: strawberry.ID | None
    as_of: datetime | None
    method: str
    observations: int
    var_95_scenario_date: str | None = strawberry.field(description="Null while the scenario set rolls.")
    market_value: float = 0.0
    gross_exposure: float = 0.0
    net_exposure: float = 0.0
    long_exposure: float = 0.0
    short_exposure: float = 0.0
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
    sortino_ratio: float | None = None
    beta: float | None = strawberry.field(default=None, description="Null while the scenario set rolls.")
    tracking_error: float | None = strawberry.field(default=None, description="Null while the scenario set rolls.")
    max_drawdown: float | None = None
    effective_names: float | None = strawberry.field(
        default=None, description="Null: a sum of P&L does not say what is held."
    )
    risk_number: int | None = None
    risk_number_structural: int | None = None
    risk_band: RiskBand | None = None
    day_pnl: float = 0.0
    coverage: float = 0.0

    @classmethod
    def of(cls, scope: str, aggregate: aggregates.Aggregate) -> AggregateRisk:
        """An aggregate in words of the schema."""
        measured = dict(aggregate.measured or {})
        number = measured.get("risk_number")
        return cls(
            scope=scope,
            portfolios=aggregate.portfolios,
            partial=aggregate.partial,
            scenario_set_id=None if aggregate.scenario_set_id is None else strawberry.ID(aggregate.scenario_set_id),
            as_of=None if aggregate.as_of_ns is None else at(aggregate.as_of_ns),
            method=aggregate.method,
            observations=aggregate.observations,
            var_95_scenario_date=aggregate.var_95_scenario_date,
            risk_band=band_of(None if number is None else int(number)),
            **measured,  # type: ignore[arg-type]  # named after the fields above
        )
