"""The risk report of portfolios: what `plimsoll risk` prints, as plain dicts whose keys are a contract.

Portfolios that live through the same scenarios are measured together, some hundreds at a time, by the functions that
the engine and the API use, in float64. What cannot be known is None and never 0: `problem` says why a portfolio could
not be measured at all, `notes` why single numbers are missing, and the lists of symbols what a number stands on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array

from plimsoll.reports import portfolio_report
from plimsoll.reports.flags import Cash, RiskTerms
from plimsoll.reports.marks import Mark, marks_of
from plimsoll.reports.methods_table import methods_side_by_side
from plimsoll.reports.portfolio_report import Day, Measured
from plimsoll.reports.positions import Portfolio, Positions
from plimsoll.reports.prices import Series, average_volumes
from plimsoll.reports.sets import Sets, benchmark_of
from plimsoll.risk.arrays import Sparse
from plimsoll.risk.measures import divisor
from plimsoll.risk.methods import ScenarioPnl
from plimsoll.risk.scenarios import OBSERVATIONS_MIN, Opinion, ScenarioSet, TooFewObservations
from plimsoll.risk.valuation import exposures, market_of, revalue

Row: TypeAlias = dict[str, Any]

PORTFOLIOS_AT_A_TIME = 128
"""Few enough that progress is seen, many enough that a matrix product is worth it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found.

    rows      one dict for each portfolio, in order of first appearance
    warnings  sentences for standard error
    """

    rows: list[Row]
    warnings: list[str]

    @property
    def any_measured(self) -> bool:
        """Whether there is a portfolio without a problem."""
        return any(row["problem"] is None for row in self.rows)


def risk_report(
    prices: Series,
    positions: Positions,
    cash: Cash,
    terms: RiskTerms,
    volumes: Series | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Every measure of every portfolio. `progress` is called with (portfolios done, of how many).

    Raises `BadFile` where nobody can be measured: prices that begin too late or are too few, a benchmark without any.
    """
    as_of = terms.as_of or prices.sessions[-1]
    known = prices.until(as_of)
    benchmark = benchmark_of(known, terms.benchmark)
    day = Day(
        as_of=as_of,
        priced_on=known.sessions[-1],
        benchmark=benchmark,
        terms=terms,
        marks=marks_of(known),
        sectors=positions.sectors,
        volumes=None if volumes is None else average_volumes(volumes.until(as_of)),
        columns=frozenset(known.symbols),
    )
    sets = Sets(known, benchmark, window=terms.window, decay=terms.choice.model.decay, sectors=positions.sectors)
    portfolios = with_cash(positions.portfolios, cash)
    rows: dict[str, Row] = {}
    for gaps, group in _by_gaps(portfolios, sets, day.marks).items():
        try:
            scenarios = sets.of(gaps)
        except TooFewObservations as error:
            reason = _too_few(error, sets, gaps)
            rows |= {each.portfolio_id: portfolio_report.refused(each, day, reason) for each in group}
            continue
        shared = _shared(group, scenarios, sets, day)
        for first in range(0, len(group), PORTFOLIOS_AT_A_TIME):
            rows |= _measured(group[first : first + PORTFOLIOS_AT_A_TIME], shared, day)
            if progress is not None:
                progress(len(rows), len(portfolios))
    ordered = [rows[portfolio.portfolio_id] for portfolio in portfolios]
    return Report(ordered, [*_overdue(prices, day), *warnings(positions, ordered)])


def with_cash(portfolios: Sequence[Portfolio], cash: Cash) -> list[Portfolio]:
    """The portfolios with their cash; one that is named there and holds nothing is a portfolio of cash alone.

    What is said of a portfolio by name goes before what its file says, and that before what is said of every one.
    """
    for portfolio in portfolios:
        if portfolio.portfolio_id in cash.named or not portfolio.states_cash:
            portfolio.cash = cash.of(portfolio.portfolio_id)
    held = {portfolio.portfolio_id for portfolio in portfolios}
    alone = [Portfolio(name, cash=amount) for name, amount in cash.named.items() if name not in held]
    return [*portfolios, *alone]


def warnings(positions: Positions, rows: Sequence[Row]) -> list[str]:
    """A sentence for each symbol that is in no number, and each portfolio that could not be measured."""
    placed: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    row_of = {portfolio.portfolio_id: portfolio.rows for portfolio in positions.portfolios}
    for row in rows:
        for symbol, reason in row["incomplete_reasons"].items():
            placed[symbol, reason].append(row_of[row["portfolio_id"]][symbol])
    said = []
    for (symbol, reason), places in placed.items():
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        said.append(f"{positions.path}, row {places[0]}{more}, column symbol: {symbol} is in no number: {reason}")
    said += [f"{row['portfolio_id']}: {row['problem']}" for row in rows if row["problem"] is not None]
    return said


def _overdue(prices: Series, day: Day) -> list[str]:
    if day.as_of <= prices.sessions[-1]:
        return []
    return [f"the newest prices are of {day.priced_on}, before --as-of {day.as_of}"]


def _too_few(error: TooFewObservations, sets: Sets, gaps: frozenset[str]) -> str:
    fewest = sorted(gaps, key=lambda symbol: (sets.returns_of(symbol), symbol))[:3]
    each = ", ".join(f"{symbol} {sets.returns_of(symbol)}" for symbol in fewest)
    return (
        f"{error.observations} returns in sessions in which all that is held has one, at least {OBSERVATIONS_MIN} are"
        f" needed; the fewest have {each}"
    )


def _by_gaps(
    portfolios: Sequence[Portfolio], sets: Sets, marks: Mapping[str, Mark]
) -> dict[frozenset[str], list[Portfolio]]:
    groups: defaultdict[frozenset[str], list[Portfolio]] = defaultdict(list)
    for portfolio in portfolios:
        groups[sets.gaps([symbol for symbol in portfolio.quantities if symbol in marks])].append(portfolio)
    return dict(groups)


def _shared(portfolios: Sequence[Portfolio], scenarios: ScenarioSet, sets: Sets, day: Day) -> Measured:
    """The market of portfolios that share a set, on the day that is measured."""
    symbols = sorted({symbol for each in portfolios for symbol in each.quantities if symbol in day.marks})
    market = market_of(
        scenarios,
        symbols,
        {symbol: Opinion(sector=day.sectors.get(symbol)) for symbol in symbols},
        np.array([day.marks[symbol].price for symbol in symbols], np.float64),
        np.array([day.marks[symbol].previous_close for symbol in symbols], np.float64),
        np.float64,
    )
    return Measured(scenarios, market, symbols, sets.returns_of, sets.stress_returns)


def _measured(portfolios: Sequence[Portfolio], shared: Measured, day: Day) -> dict[str, Row]:
    """The reports of portfolios that share a market, by their ids."""
    quantity = _quantities(portfolios, shared.symbols)
    cash = np.array([each.cash for each in portfolios], np.float64)
    measures = revalue(quantity, cash, shared.market, day.terms.choice)
    exposure = exposures(quantity, shared.market.mark).toarray()
    beside = methods_side_by_side(
        ScenarioPnl(exposure @ shared.market.historical, exposure @ shared.market.filtered),
        divisor(measures.market_value, measures.gross_exposure),
        day.terms.choice.model,
        shared.scenarios.scenario_sessions,
    )
    return {
        portfolio.portfolio_id: portfolio_report.measured(portfolio, day, shared, row, methods, exposure[number])
        for number, (portfolio, row, methods) in enumerate(zip(portfolios, measures.rows(), beside, strict=True))
    }


def _quantities(portfolios: Sequence[Portfolio], symbols: Sequence[str]) -> Sparse:
    """(portfolio, symbol) signed units of what has a price."""
    column = {symbol: index for index, symbol in enumerate(symbols)}
    dense = np.zeros((len(portfolios), len(symbols)))
    for number, portfolio in enumerate(portfolios):
        for symbol, units in portfolio.quantities.items():
            if symbol in column:
                dense[number, column[symbol]] = units
    return csr_array(dense)
