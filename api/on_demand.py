"""What is asked for rarely, computed when it is: what-if, stresses, holdings, an advisor's or the firm's risk.

Pure functions from positions, marks and a scenario set, in float64, by the same kernels as the engine's headline
numbers. No I/O and no clock. A symbol without a mark is in no number, and every answer names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from plimsoll.messages import AdvisorPnl, Mark, PortfolioRecord, RiskSnapshot, ScenarioSetRecord
from plimsoll.risk import measures, stress
from plimsoll.risk.scenarios import Opinion, ScenarioSet, returns_by_symbol
from plimsoll.risk.valuation import Market, revalue

HORIZON_DAYS = 1
DEFAULT_BETA = 1.0


@dataclass(frozen=True, slots=True)
class Holding:
    """A position as reported. What depends on a mark is None where the symbol has none."""

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


@dataclass(frozen=True, slots=True)
class StressedHolding:
    """What a stress does to one holding. `basis`: `own` history, or `beta` times the index."""

    symbol: str
    return_fraction: float
    pnl: float
    basis: str


@dataclass(frozen=True, slots=True)
class StressResult:
    """What a named stress would do to a portfolio; a loss is negative."""

    stress: stress.NamedStress
    pnl: float
    pnl_fraction: float | None
    own_share_fraction: float
    """Share of gross exposure that repeats its own return; the rest follows the index by its beta."""
    holdings: list[StressedHolding]
    incomplete_symbols: list[str]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Several portfolios as one. `measured` is what `measures.Measures.rows` gives; None where nothing is known yet."""

    portfolios: int
    partial: bool
    scenario_set_id: str | None
    as_of_ns: int | None
    observations: int
    measured: Mapping[str, float | int | None] | None


def scenario_set_of(record: ScenarioSetRecord) -> ScenarioSet:
    """The scenario set that a record carries."""
    returns = np.frombuffer(record.returns, np.float64).reshape(len(record.sessions), len(record.symbols))
    return ScenarioSet(
        record.scenario_set_id, record.method, record.benchmark, tuple(record.symbols), tuple(record.sessions), returns
    )


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


def snapshots(
    records: Sequence[PortfolioRecord],
    marks: Mapping[str, Mark],
    scenarios: ScenarioSet,
    *,
    sequence: str,
    risk_free: float,
    now_ns: int,
) -> list[RiskSnapshot]:
    """The risk of each portfolio with these marks, as the engine would state it.

    They are hypothetical, so they say the `sequence` of the snapshot they were derived from.
    """
    symbols = sorted({symbol for record in records for symbol in record.symbols})
    market = _market(symbols, marks, scenarios)
    column = {symbol: index for index, symbol in enumerate(symbols)}
    quantity = csr_array(
        (
            np.array([quantity for record in records for quantity in record.quantities], np.float64),
            np.array([column[symbol] for record in records for symbol in record.symbols], np.int32),
            np.cumsum([0, *(len(record.symbols) for record in records)]).astype(np.int32),
        ),
        shape=(len(records), len(symbols)),
    )
    measured = revalue(quantity, np.array([record.cash for record in records], np.float64), market, risk_free)
    tail_sessions = [scenarios.sessions[index] for index in measured.var_95_scenario.tolist()]
    return [
        _snapshot(record, row, session, marks, scenarios, sequence=sequence, now_ns=now_ns)
        for record, row, session in zip(records, measured.rows(), tail_sessions, strict=True)
    ]


def holdings(record: PortfolioRecord, marks: Mapping[str, Mark]) -> list[Holding]:
    """The positions with their marks, the largest market value first, unmarked ones last."""
    exposure = exposures(record, marks)
    market_value = sum(exposure.values()) + record.cash
    found = []
    for symbol, quantity, sector in zip(record.symbols, record.quantities, record.sectors, strict=True):
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
                weight_fraction=None if value is None or market_value <= 0.0 else value / market_value,
                day_pnl=None if moved is None else quantity * moved,
            )
        )
    return sorted(found, key=lambda holding: (holding.market_value is None, -abs(holding.market_value or 0.0)))


def exposures(record: PortfolioRecord, marks: Mapping[str, Mark]) -> dict[str, float]:
    """Market value of each marked position, short ones negative."""
    return {
        symbol: quantity * marks[symbol].price
        for symbol, quantity in zip(record.symbols, record.quantities, strict=True)
        if symbol in marks
    }


def stressed(
    record: PortfolioRecord,
    marks: Mapping[str, Mark],
    scenarios: ScenarioSet,
    stresses: Sequence[stress.NamedStress],
) -> list[StressResult]:
    """What each stress would do to the portfolio as it is now.

    A symbol repeats its own return where the scenario set saw it through the stress, and follows the index by its
    beta elsewhere: over the scenario set where it has a history there, else the vendor's, else 1.
    """
    exposure = exposures(record, marks)
    market_value = sum(exposure.values()) + record.cash
    unmarked = sorted(set(record.symbols) - exposure.keys())
    betas = {symbol: _beta(symbol, marks[symbol], scenarios) for symbol in exposure}
    results = []
    for each in stresses:
        returns = stress.stressed_returns(each, *_closes_around(each, exposure, scenarios), betas)
        outcome = stress.stress_pnl(exposure, returns)
        results.append(
            StressResult(
                stress=each,
                pnl=outcome.pnl,
                pnl_fraction=outcome.pnl / market_value if market_value > 0.0 else None,
                own_share_fraction=outcome.own_share,
                holdings=[
                    StressedHolding(symbol, returns[symbol].fraction, pnl, returns[symbol].basis)
                    for symbol, pnl in sorted(outcome.by_symbol.items(), key=lambda item: item[1])
                ],
                incomplete_symbols=unmarked,
            )
        )
    return results


def aggregate(
    pnls: Sequence[AdvisorPnl], current_id: str | None, scenarios: ScenarioSet | None, risk_free: float
) -> Aggregate:
    """Measure the sum of P&L vectors, those of one scenario set only: the current one, or the commonest.

    `scenarios` is the set that `current_id` names; without it the benchmark is not known, so no beta is given.
    """
    chosen = chosen_scenario_set_id(pnls, current_id)
    summed = [pnl for pnl in pnls if pnl.scenario_set_id == chosen]
    if not summed:
        return Aggregate(0, False, current_id, None, 0, None)
    vectors = np.stack([np.frombuffer(pnl.pnl, np.float64) for pnl in summed])
    known = scenarios is not None and scenarios.scenario_set_id == chosen
    benchmark = scenarios.benchmark_returns if known and scenarios is not None else np.zeros(vectors.shape[1])
    measured = measures.aggregate(
        vectors.sum(axis=0),
        market_value=sum(pnl.market_value for pnl in summed),
        gross_exposure=sum(pnl.gross_exposure for pnl in summed),
        net_exposure=sum(pnl.net_exposure for pnl in summed),
        cash=sum(pnl.cash for pnl in summed),
        day_pnl=sum(pnl.day_pnl for pnl in summed),
        covered_exposure=sum(pnl.covered_exposure for pnl in summed),
        benchmark_returns=benchmark,
        risk_free=risk_free,
    )
    return Aggregate(
        portfolios=sum(pnl.portfolios for pnl in summed),
        partial=len(summed) < len(pnls),
        scenario_set_id=chosen,
        as_of_ns=max(pnl.as_of_ns for pnl in summed),
        observations=vectors.shape[1],
        measured=measured.rows()[0],
    )


def chosen_scenario_set_id(pnls: Sequence[AdvisorPnl], current_id: str | None) -> str | None:
    """The current set where any vector is of it; else the one that most portfolios are of (while a set rolls)."""
    portfolios: Counter[str] = Counter()
    for pnl in pnls:
        portfolios[pnl.scenario_set_id] += pnl.portfolios
    if current_id in portfolios or not portfolios:
        return current_id
    return portfolios.most_common(1)[0][0]


def _market(symbols: Sequence[str], marks: Mapping[str, Mark], scenarios: ScenarioSet) -> Market:
    opinions = {symbol: Opinion(mark.volatility, mark.beta) for symbol, mark in marks.items()}
    returns, own_history = returns_by_symbol(scenarios, symbols, opinions, np.float64)
    previous = [marks[symbol].previous_close if symbol in marks else None for symbol in symbols]
    return Market(
        mark=np.array([marks[symbol].price if symbol in marks else np.nan for symbol in symbols], np.float64),
        previous_close=np.array([np.nan if close is None else close for close in previous], np.float64),
        returns=returns,
        own_history=own_history,
        benchmark_returns=scenarios.benchmark_returns,
    )


def _snapshot(
    record: PortfolioRecord,
    measured: Mapping[str, float | int | None],
    tail_session: str,
    marks: Mapping[str, Mark],
    scenarios: ScenarioSet,
    *,
    sequence: str,
    now_ns: int,
) -> RiskSnapshot:
    times = [marks[symbol].event_time_ns for symbol in record.symbols if symbol in marks]
    return RiskSnapshot(
        sequence=sequence,
        advisor_id=record.advisor_id,
        portfolio_id=record.portfolio_id,
        client_id=record.client_id,
        risk_tolerance=record.risk_tolerance,
        as_of_ns=max([record.event_time_ns, *times]),
        calculated_at_ns=now_ns,
        method=scenarios.method,
        horizon_days=HORIZON_DAYS,
        observations=scenarios.observations,
        scenario_set_id=scenarios.scenario_set_id,
        var_95_scenario_date=tail_session,
        incomplete_symbols=sorted(symbol for symbol in record.symbols if symbol not in marks),
        proxied_symbols=sorted(s for s in record.symbols if s in marks and scenarios.returns_of(s) is None),
        oldest_price_ns=min(times, default=None),
        calculation_time_ms=0.0,
        average_calculation_time_ms=0.0,
        calculations=0,
        source_partition=record.source_partition,
        source_offset=record.source_offset,
        **measured,  # type: ignore[arg-type]  # `rows` names exactly the fields of a snapshot
    )


def _beta(symbol: str, mark: Mark, scenarios: ScenarioSet) -> float:
    own = scenarios.returns_of(symbol)
    if own is not None:
        beta = float(measures.beta(own[None, :], scenarios.benchmark_returns)[0])
        return DEFAULT_BETA if np.isnan(beta) else beta
    return DEFAULT_BETA if mark.beta is None else mark.beta


def _closes_around(
    each: stress.NamedStress, symbols: Mapping[str, float], scenarios: ScenarioSet
) -> tuple[dict[str, float], dict[str, float]]:
    """Closes of a stress's two sessions, relative to the first, where the scenario set spans both."""
    if each.first_session not in scenarios.sessions or each.last_session not in scenarios.sessions:
        return {}, {}
    first, last = scenarios.sessions.index(each.first_session), scenarios.sessions.index(each.last_session)
    own = {symbol: returns for symbol in symbols if (returns := scenarios.returns_of(symbol)) is not None}
    # The first session's own return was made before its close, from which the stress is counted.
    return dict.fromkeys(own, 1.0), {
        s: float(np.prod(1.0 + returns[first + 1 : last + 1])) for s, returns in own.items()
    }
