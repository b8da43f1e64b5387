"""The risk of portfolios computed when it is asked for: as they are, and as they would be after trades.

Pure functions from positions, marks and a scenario set, in float64, by the same kernels as the engine's headline
numbers. No I/O and no clock. A symbol without a mark is in no number, and every answer names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from plimsoll.messages import Mark, PortfolioRecord, RiskSnapshot
from plimsoll.risk import limits
from plimsoll.risk.arrays import FloatArray, Sparse
from plimsoll.risk.limits import Breach, Limits, Standing
from plimsoll.risk.liquidity import liquidity_days
from plimsoll.risk.measures import Choice, divisor
from plimsoll.risk.methods import Method, Model, ScenarioPnl
from plimsoll.risk.scenarios import Opinion, ScenarioSet, can_be_valued
from plimsoll.risk.tails import NO_SCENARIO
from plimsoll.risk.valuation import Market, live_scale, market_of, revalue
from plimsoll.settings import Settings

HORIZON_DAYS = 1


@dataclass(frozen=True, slots=True)
class Terms:
    """How risk is measured and what it should not exceed; the engine was told the same.

    choice           method, model and risk-free rate
    live_volatility  whether today's move counts towards the volatility of now
    limits           of what-if
    """

    choice: Choice
    live_volatility: bool
    limits: Limits

    @classmethod
    def of(cls, settings: Settings) -> Terms:
        """As the settings say."""
        return cls(
            Choice(
                Method(settings.method), Model(decay=settings.decay, age_decay=settings.age_decay), settings.risk_free
            ),
            settings.live_volatility,
            Limits(
                single_name_fraction=settings.limit_name_fraction,
                leverage=settings.limit_leverage,
                var_99_fraction=settings.limit_var_99_fraction,
            ),
        )


# --- valuing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Valued:
    """Portfolios and the market that values them, named and shaped as the arguments of `valuation.revalue`.

    symbols  (symbol,) all that any of them holds, ascending
    """

    symbols: list[str]
    quantity: Sparse
    cash: FloatArray
    market: Market
    scale: FloatArray | None

    @property
    def unpriced(self) -> set[str]:
        """Symbols that are in no number."""
        marked = zip(self.symbols, np.isfinite(self.market.mark).tolist(), strict=True)
        return {symbol for symbol, is_marked in marked if not is_marked}

    @property
    def proxied(self) -> set[str]:
        """Symbols that are valued, by a history that is not all their own."""
        own = zip(self.symbols, self.market.own_history.tolist(), strict=True)
        return {symbol for symbol, is_own in own if not is_own} - self.unpriced


def units_held(record: PortfolioRecord) -> dict[str, float]:
    """{symbol: signed units} of what a portfolio holds; a position of 0 units is stated, but holds nothing."""
    return {symbol: units for symbol, units in zip(record.symbols, record.quantities, strict=True) if units != 0.0}


def valued(
    records: Sequence[PortfolioRecord], marks: Mapping[str, Mark], scenarios: ScenarioSet, terms: Terms
) -> Valued:
    """Portfolios over one market, in float64."""
    quantities = [units_held(record) for record in records]
    symbols = sorted({symbol for each in quantities for symbol in each})
    column = {symbol: index for index, symbol in enumerate(symbols)}
    quantity = csr_array(
        (
            np.array([units for each in quantities for units in each.values()], np.float64),
            np.array([column[symbol] for each in quantities for symbol in each], np.int32),
            np.cumsum([0, *(len(each) for each in quantities)]).astype(np.int32),
        ),
        shape=(len(records), len(symbols)),
    )
    market = market_of(
        scenarios,
        symbols,
        _opinions(records, marks),
        _column(symbols, {symbol: mark.price for symbol, mark in marks.items()}),
        _column(symbols, {symbol: mark.previous_close for symbol, mark in marks.items()}),
        np.float64,
    )
    scale = live_scale(market, scenarios.decay) if terms.live_volatility else None
    cash = np.array([record.cash for record in records], np.float64)
    return Valued(symbols, quantity, cash, market, scale)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """One portfolio holding by holding; what has no price is left out.

    symbols    (part,) ascending
    exposure   (part,) money, short positions negative
    pnl        (part, scenario) money, of each holding by itself
    value      market value, money; None where it is not positive
    unpriced   held, but in no number here
    benchmark_returns, returns  (scenario,) and (part, scenario) as they were, fractions
    """

    symbols: list[str]
    exposure: FloatArray
    pnl: ScenarioPnl
    value: float | None
    unpriced: list[str]
    benchmark_returns: FloatArray
    returns: FloatArray


def parts(record: PortfolioRecord, marks: Mapping[str, Mark], scenarios: ScenarioSet, terms: Terms) -> Parts:
    """A portfolio holding by holding: summed over its parts, P&L is what `snapshots` measures."""
    held = valued([record], marks, scenarios, terms)
    exposure = held.quantity.toarray()[0] * held.market.mark
    priced = np.flatnonzero(~np.isnan(exposure))
    exposure = exposure[priced]
    scaled = exposure if held.scale is None else exposure * held.scale[priced]
    return Parts(
        symbols=[held.symbols[index] for index in priced.tolist()],
        exposure=exposure,
        pnl=ScenarioPnl(
            exposure[:, None] * held.market.historical[priced], scaled[:, None] * held.market.filtered[priced]
        ),
        value=value_of(exposure.tolist(), record.cash),
        unpriced=sorted(held.unpriced),
        benchmark_returns=held.market.benchmark_returns,
        returns=held.market.historical[priced],
    )


def value_of(exposures: Sequence[float], cash: float) -> float | None:
    """The market value that fractions are of; None where it is not positive."""
    gross = math.fsum(abs(exposure) for exposure in exposures)
    return defined(float(divisor(np.array([math.fsum(exposures) + cash]), np.array([gross]))[0]))


def defined(number: float) -> float | None:
    """A number that can be told: None for NaN, and for what is beyond all bounds."""
    return number if math.isfinite(number) else None


def _opinions(records: Sequence[PortfolioRecord], marks: Mapping[str, Mark]) -> dict[str, Opinion]:
    sectors = {
        symbol: sector
        for record in records
        for symbol, sector in zip(record.symbols, record.sectors, strict=True)
        if sector is not None
    }
    return {symbol: Opinion(mark.volatility, mark.beta, sectors.get(symbol)) for symbol, mark in marks.items()}


def _column(symbols: Sequence[str], known: Mapping[str, float | None]) -> FloatArray:
    return np.array([np.nan if (number := known.get(symbol)) is None else number for symbol in symbols], np.float64)


# --- snapshots and what-if --------------------------------------------------------------------------------------------


def snapshots(
    records: Sequence[PortfolioRecord],
    marks: Mapping[str, Mark],
    scenarios: ScenarioSet,
    terms: Terms,
    *,
    sequence: str,
    now_ns: int,
) -> list[RiskSnapshot]:
    """The risk of each portfolio with these marks, as the engine would state it.

    They are hypothetical, so they say the `sequence` of the snapshot they were derived from.
    """
    held = valued(records, marks, scenarios, terms)
    measured = revalue(held.quantity, held.cash, held.market, terms.choice, held.scale)
    unpriced, proxied = held.unpriced, held.proxied
    made = []
    for record, row, scenario in zip(records, measured.rows(), measured.var_95_scenario.tolist(), strict=True):
        symbols = units_held(record).keys()
        times = [marks[symbol].event_time_ns for symbol in symbols if symbol not in unpriced]
        made.append(
            RiskSnapshot(
                sequence=sequence,
                advisor_id=record.advisor_id,
                portfolio_id=record.portfolio_id,
                client_id=record.client_id,
                risk_tolerance=record.risk_tolerance,
                as_of_ns=max([record.event_time_ns, *times]),
                calculated_at_ns=now_ns,
                method=terms.choice.method.value,
                horizon_days=HORIZON_DAYS,
                observations=scenarios.observations,
                scenario_set_id=scenarios.scenario_set_id,
                var_95_scenario_date="" if scenario == NO_SCENARIO else scenarios.scenario_sessions[scenario],
                incomplete_symbols=sorted(unpriced & symbols),
                proxied_symbols=sorted(proxied & symbols),
                oldest_price_ns=min(times, default=None),
                calculation_time_ms=0.0,
                average_calculation_time_ms=0.0,
                calculations=0,
                source_partition=record.source_partition,
                source_offset=record.source_offset,
                **row,  # type: ignore[arg-type]  # `rows` names exactly the fields of a snapshot
            )
        )
    return made


def traded(record: PortfolioRecord, trades: Mapping[str, float]) -> PortfolioRecord:
    """The portfolio after signed changes of quantity; what comes to zero is held no more. Cash stays as it is."""
    quantities = dict(zip(record.symbols, record.quantities, strict=True))
    for symbol, change in trades.items():
        quantities[symbol] = quantities.get(symbol, 0.0) + change
    sectors = dict(zip(record.symbols, record.sectors, strict=True))
    held = [symbol for symbol, quantity in quantities.items() if quantity != 0.0]
    return PortfolioRecord(
        portfolio_id=record.portfolio_id,
        advisor_id=record.advisor_id,
        client_id=record.client_id,
        risk_tolerance=record.risk_tolerance,
        account_type=record.account_type,
        cash=record.cash,
        symbols=held,
        quantities=[quantities[symbol] for symbol in held],
        sectors=[sectors.get(symbol) for symbol in held],
        event_time_ns=record.event_time_ns,
        version=record.version,
        source_partition=record.source_partition,
        source_offset=record.source_offset,
    )


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A portfolio's risk before and after trades, and every limit that it exceeds afterwards."""

    before: RiskSnapshot
    after: RiskSnapshot
    breaches: list[Breach]


def what_if(
    record: PortfolioRecord,
    trades: Mapping[str, float],
    marks: Mapping[str, Mark],
    scenarios: ScenarioSet,
    terms: Terms,
    *,
    sequence: str,
    now_ns: int,
) -> WhatIf:
    """What signed changes of quantity would do, with the same marks before and after."""
    changed = traded(record, trades)
    before, after = snapshots([record, changed], marks, scenarios, terms, sequence=sequence, now_ns=now_ns)
    found = limits.breaches(
        _standing(record, marks, scenarios, before), _standing(changed, marks, scenarios, after), terms.limits
    )
    return WhatIf(before, after, found)


def _standing(
    record: PortfolioRecord, marks: Mapping[str, Mark], scenarios: ScenarioSet, risk: RiskSnapshot
) -> Standing:
    return Standing(
        exposure=exposures(record, marks, scenarios),
        cash=record.cash,
        risk_number=risk.risk_number,
        tolerance=record.risk_tolerance.value,
        var_99_fraction=risk.var_99_fraction,
    )


# --- what is held -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Holding:
    """A position as reported. Its value is None where the symbol has no mark or cannot be valued with it."""

    symbol: str
    sector: str | None
    quantity: float
    mark: float | None
    marked_at_ns: int | None
    market_value: float | None
    weight_fraction: float | None
    """Of the portfolio's market value; None also where that is not positive."""
    day_pnl: float | None
    """None also where the last close is not known."""
    liquidity_days: float | None
    """To trade out of it; None where no volume is known, or none is traded."""


@dataclass(frozen=True, slots=True)
class SectorExposure:
    """What is held of one sector, money; `short` is negative, and `sector` None where nobody states one."""

    sector: str | None
    gross: float
    net: float
    long: float
    short: float


def holdings(record: PortfolioRecord, marks: Mapping[str, Mark], scenarios: ScenarioSet | None = None) -> list[Holding]:
    """The positions with their marks, the largest market value first, those that are in no number last."""
    exposure = exposures(record, marks, scenarios)
    market_value = value_of(list(exposure.values()), record.cash)
    volumes = _column(record.symbols, {symbol: mark.average_daily_volume for symbol, mark in marks.items()})
    days = liquidity_days(np.array(record.quantities, np.float64), volumes).tolist()
    found = []
    for symbol, quantity, sector, to_trade in zip(record.symbols, record.quantities, record.sectors, days, strict=True):
        mark, value = marks.get(symbol), exposure.get(symbol)
        moved = None if mark is None or mark.previous_close is None else mark.price - mark.previous_close
        found.append(
            Holding(
                symbol=symbol,
                sector=sector,
                quantity=quantity,
                mark=None if mark is None else mark.price,
                marked_at_ns=None if mark is None else mark.event_time_ns,
                market_value=value,
                weight_fraction=None if value is None or market_value is None else value / market_value,
                day_pnl=None if moved is None or value is None else quantity * moved,
                liquidity_days=defined(to_trade),
            )
        )
    return sorted(found, key=lambda holding: (holding.market_value is None, -abs(holding.market_value or 0.0)))


def exposures(record: PortfolioRecord, marks: Mapping[str, Mark], scenarios: ScenarioSet | None) -> dict[str, float]:
    """Market value of each position that is in a snapshot's numbers, short ones negative.

    Those are the marked ones, but for what the scenario set has no returns to value with; without a set, all of them.
    """
    return {
        symbol: quantity * marks[symbol].price
        for symbol, quantity in zip(record.symbols, record.quantities, strict=True)
        if symbol in marks and (scenarios is None or can_be_valued(scenarios, symbol, has_opinion=True))
    }


def sectors_of(record: PortfolioRecord, scenarios: ScenarioSet | None) -> dict[str, str | None]:
    """{symbol: sector} of what is held: as the portfolio's owner states it, else as the closes do."""
    known = {} if scenarios is None else scenarios.sectors
    return {symbol: stated or known.get(symbol) for symbol, stated in zip(record.symbols, record.sectors, strict=True)}


def sector_exposures(
    record: PortfolioRecord, marks: Mapping[str, Mark], scenarios: ScenarioSet | None
) -> list[SectorExposure]:
    """What is held of each sector, the largest gross exposure first. What is in no number is left out."""
    sectors = sectors_of(record, scenarios)
    by_sector: dict[str | None, list[float]] = {}
    for symbol, exposure in exposures(record, marks, scenarios).items():
        by_sector.setdefault(sectors[symbol], []).append(exposure)
    found = []
    for sector, each in by_sector.items():
        long, short = math.fsum(e for e in each if e > 0.0), math.fsum(e for e in each if e < 0.0)
        found.append(SectorExposure(sector, long - short, long + short, long, short))
    return sorted(found, key=lambda exposure: (-exposure.gross, exposure.sector or ""))
