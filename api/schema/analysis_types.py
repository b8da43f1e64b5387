"""What is computed when it is asked for: what-if, what adds to the risk, other methods, stresses and shocks.

Money is in the reporting currency. What ends in `Fraction` is a fraction of market value, and null where that is not
positive. All of it is hypothetical: what would be, not what was.
"""

from __future__ import annotations

from datetime import datetime

import strawberry

from api import decomposition, on_demand, stresses
from api.schema.enums import LimitCode
from api.schema.risk_types import RiskDifference, RiskSnapshot
from api.schema.scalars import at
from plimsoll.risk import limits

# --- what is held -----------------------------------------------------------------------------------------------------


@strawberry.type(
    description="A position as reported. What depends on a mark is null where the symbol has none, or cannot be valued."
)
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
    liquidity_days: float | None = strawberry.field(
        description=(
            "Days to trade out of it, as a fifth of the average daily volume. Null where no volume is known, or none "
            "is traded."
        )
    )

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
            liquidity_days=holding.liquidity_days,
        )


@strawberry.type(description="What is held of one sector. Symbols without a price are left out.")
class SectorExposure:
    """An `on_demand.SectorExposure`."""

    sector: str | None = strawberry.field(description="Null where nobody states one.")
    gross_exposure: float
    net_exposure: float
    long_exposure: float
    short_exposure: float = strawberry.field(description="Negative, so that long and short add up to net.")

    @classmethod
    def of(cls, exposure: on_demand.SectorExposure) -> SectorExposure:
        """A sector in words of the schema."""
        return cls(
            sector=exposure.sector,
            gross_exposure=exposure.gross,
            net_exposure=exposure.net,
            long_exposure=exposure.long,
            short_exposure=exposure.short,
        )


# --- what-if ----------------------------------------------------------------------------------------------------------


@strawberry.type(description="A limit that a portfolio exceeds after trades. Limits forbid nothing: they tell.")
class LimitBreach:
    """A `limits.Breach`."""

    code: LimitCode
    message: str = strawberry.field(description="A sentence with the figure and its bound.")
    value: float = strawberry.field(description="In the unit of the limit: points, a fraction, a ratio, money.")
    bound: float
    symbol: str | None = strawberry.field(description="The name that is meant, where one is.")
    already_breached: bool = strawberry.field(description="It was so before the trades as well.")

    @classmethod
    def of(cls, breach: limits.Breach) -> LimitBreach:
        """A breach in words of the schema."""
        return cls(
            code=breach.code,
            message=breach.message,
            value=breach.value,
            bound=breach.bound,
            symbol=breach.symbol,
            already_breached=breach.already_breached,
        )


@strawberry.type(description="A portfolio's risk before and after trades, with the marks of this moment. Hypothetical.")
class WhatIf:
    """Nothing was changed."""

    before: RiskSnapshot
    after: RiskSnapshot
    difference: RiskDifference
    breaches: list[LimitBreach] = strawberry.field(description="Every limit that the portfolio then exceeds.")


# --- contributions ----------------------------------------------------------------------------------------------------


@strawberry.interface(
    description=(
        "What a part of a portfolio adds to its risk, three different things. Component: its loss in the scenarios of "
        "the total; components add up to it. Marginal: component over exposure, the total's change for one more unit "
        "of money in it; null for a part of nothing. Incremental: the total less what it would be without the part."
    )
)
class RiskContribution:
    """A `decomposition.Contribution`: positive where the part adds risk, negative where it takes some away."""

    exposure: float
    weight_fraction: float | None
    component_var_95: float
    component_var_99: float
    component_es_975: float
    marginal_var_95: float | None
    marginal_var_99: float | None
    marginal_es_975: float | None
    incremental_var_95: float
    incremental_var_99: float
    incremental_es_975: float


@strawberry.type(description="What a holding adds to its portfolio's risk.")
class HoldingContribution(RiskContribution):
    """A holding's."""

    symbol: str
    sector: str | None

    @classmethod
    def of(cls, part: decomposition.Contribution) -> HoldingContribution:
        """A holding in words of the schema."""
        return cls(symbol=part.name or "", sector=part.sector, **_measures(part))  # type: ignore[arg-type]


@strawberry.type(description="What a sector adds to its portfolio's risk.")
class SectorContribution(RiskContribution):
    """A sector's."""

    sector: str | None = strawberry.field(description="Null for holdings of which nobody states one.")

    @classmethod
    def of(cls, part: decomposition.Contribution) -> SectorContribution:
        """A sector in words of the schema."""
        return cls(sector=part.sector, **_measures(part))  # type: ignore[arg-type]


def _measures(part: decomposition.Contribution) -> dict[str, float | None]:
    measures: dict[str, float | None] = {"exposure": part.exposure, "weight_fraction": part.weight_fraction}
    for name in ("var_95", "var_99", "es_975"):
        added: decomposition.Added = getattr(part, name)
        measures[f"component_{name}"] = added.component
        measures[f"marginal_{name}"] = added.marginal
        measures[f"incremental_{name}"] = added.incremental
    return measures


@strawberry.type(
    description=(
        "How a portfolio's value at risk and expected shortfall split among what it holds, with the marks of this "
        "moment: components of the holdings add up to the totals here, and so do those of the sectors. Hypothetical."
    )
)
class Contributions:
    """A `decomposition.Contributions`."""

    method: str
    scenario_set_id: strawberry.ID
    observations: int
    var_95: float
    var_99: float
    es_975: float
    holdings: list[HoldingContribution] = strawberry.field(description="The largest exposure first.")
    sectors: list[SectorContribution] = strawberry.field(description="The largest exposure first.")
    incomplete_symbols: list[str] = strawberry.field(
        description="Held, but in no number here: without a price, or without the returns to value it with."
    )

    @classmethod
    def of(cls, found: decomposition.Contributions) -> Contributions:
        """Contributions in words of the schema."""
        return cls(
            method=found.method.value,
            scenario_set_id=strawberry.ID(found.scenario_set_id),
            observations=found.observations,
            var_95=found.var_95,
            var_99=found.var_99,
            es_975=found.es_975,
            holdings=[HoldingContribution.of(part) for part in found.holdings],
            sectors=[SectorContribution.of(part) for part in found.sectors],
            incomplete_symbols=found.incomplete_symbols,
        )


# --- alternatives -----------------------------------------------------------------------------------------------------


@strawberry.type(
    description=(
        "What one method says of a portfolio, with the marks of this moment; null where the method is not defined. "
        "Hypothetical."
    )
)
class Alternative:
    """A `decomposition.Alternative`."""

    method: str
    label: str = strawberry.field(description="The method in words.")
    in_force: bool = strawberry.field(description="The engine's: the one behind every other number.")
    var_95: float | None
    var_99: float | None
    es_975: float | None
    var_95_fraction: float | None
    var_99_fraction: float | None
    es_975_fraction: float | None
    var_95_scenario_date: str | None = strawberry.field(
        description="The session whose scenario is the value at risk; null for a method that assumes a law."
    )

    @classmethod
    def of(cls, found: decomposition.Alternative) -> Alternative:
        """A method's answer in words of the schema."""
        return cls(
            method=found.method.value,
            label=found.label,
            in_force=found.in_force,
            var_95=found.var_95,
            var_99=found.var_99,
            es_975=found.es_975,
            var_95_fraction=found.var_95_fraction,
            var_99_fraction=found.var_99_fraction,
            es_975_fraction=found.es_975_fraction,
            var_95_scenario_date=found.var_95_scenario_date,
        )


# --- stresses and shocks ----------------------------------------------------------------------------------------------


@strawberry.type(description="What a stress or a shock does to one holding.")
class StressedHolding:
    """A `stresses.StressedHolding`."""

    symbol: str
    return_fraction: float = strawberry.field(description="Of the holding's own value: -0.3 is a fall of 30 per cent.")
    pnl: float
    basis: str = strawberry.field(
        description=(
            "own: its own return then; beta: beta times the index; shock: assumed; unshocked: no assumption covers it."
        )
    )

    @classmethod
    def of(cls, holding: stresses.StressedHolding) -> StressedHolding:
        """A holding in words of the schema."""
        return cls(symbol=holding.symbol, return_fraction=holding.return_fraction, pnl=holding.pnl, basis=holding.basis)


@strawberry.type(description="What a sector adds to P&L.")
class SectorPnl:
    """A `stresses.SectorPnl`."""

    sector: str | None = strawberry.field(description="Null for holdings of which nobody states one.")
    pnl: float

    @classmethod
    def of(cls, sector: stresses.SectorPnl) -> SectorPnl:
        """A sector in words of the schema."""
        return cls(sector=sector.sector, pnl=sector.pnl)


@strawberry.type(
    description="What a fall of the market in the past would do to the portfolio as it is now. Hypothetical."
)
class StressResult:
    """A `stresses.StressResult`."""

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
    sectors: list[SectorPnl] = strawberry.field(description="The worst first.")
    incomplete_symbols: list[str]

    @classmethod
    def of(cls, result: stresses.StressResult) -> StressResult:
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
            holdings=[StressedHolding.of(holding) for holding in result.holdings],
            sectors=[SectorPnl.of(sector) for sector in result.sectors],
            incomplete_symbols=result.incomplete_symbols,
        )


@strawberry.type(description="What an assumed shock would do to the portfolio as it is now. Hypothetical.")
class ShockResult:
    """A `stresses.ShockResult`."""

    pnl: float = strawberry.field(description="A loss is negative.")
    pnl_fraction: float | None
    holdings: list[StressedHolding] = strawberry.field(description="The worst first.")
    sectors: list[SectorPnl] = strawberry.field(description="The worst first.")
    unused_sectors: list[str] = strawberry.field(description="Shocked, but nothing of them is held.")
    unused_symbols: list[str] = strawberry.field(description="Shocked, but not held.")
    incomplete_symbols: list[str] = strawberry.field(
        description="Held, but in no number here: without a price, or without the returns to value it with."
    )

    @classmethod
    def of(cls, result: stresses.ShockResult) -> ShockResult:
        """A shock result in words of the schema."""
        return cls(
            pnl=result.pnl,
            pnl_fraction=result.pnl_fraction,
            holdings=[StressedHolding.of(holding) for holding in result.holdings],
            sectors=[SectorPnl.of(sector) for sector in result.sectors],
            unused_sectors=result.unused_sectors,
            unused_symbols=result.unused_symbols,
            incomplete_symbols=result.incomplete_symbols,
        )
