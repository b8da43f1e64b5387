"""What files of prices and positions become in the stream: the sessions that are played, and the updates that are sent.

The files are those of `plimsoll risk`. A stream asks a little more of them, because names become keys and channels and
the engine judges every record: it is asked here, before anything is started, and refused with file, row and column.
Whoever publishes and whoever starts the publisher plan alike, so both say the same.
"""

from __future__ import annotations

import bisect
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from plimsoll.errors import BadMessage, BadSetting
from plimsoll.messages import (
    PRICE_MAX,
    PortfolioUpdate,
    Position,
    RiskTolerance,
    decode_portfolio_update,
    encode,
    newest_day,
)
from plimsoll.refusals import IDENTIFIER_RULE, is_identifier
from plimsoll.reports.files import BadFile, is_date
from plimsoll.reports.flags import BENCHMARK
from plimsoll.reports.positions import Portfolio, Positions
from plimsoll.reports.prices import Series, closes_of
from plimsoll.reports.sets import benchmark_of
from plimsoll.risk import scenarios
from plimsoll.risk.scenarios import OBSERVATIONS_MIN, MissingBenchmark, Opinion, ScenarioSet, TooFewObservations

LATEST = "latest"
"""`--from latest`: nothing is played, everything stands at the newest close."""
SESSIONS_MIN = OBSERVATIONS_MIN + 1
"""Closes that make the returns without which no risk is measured."""
SESSIONS_PLAYED = 20
"""Where nobody says from when: the newest month is played, and what lies before it is history."""
ADVISOR = "advisor-1"
"""Of a portfolio whose file names none."""
NAMES_SHOWN = 10

_COLUMNS = {"id": "portfolio_id", "advisor_id": "advisor_id", "cash": "cash", "positions": "symbol"}
"""Field of an update -> the column that it is read from."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How files of prices are played.

    first       number of the session that is played first; as many as there are where none is
    benchmark   a column, or None: then beta is unknown, and nothing stands in for a name that lacks a history
    set_before  the scenario set before that session
    """

    prices: Series
    first: int
    benchmark: str | None
    set_before: ScenarioSet

    @property
    def opens_at(self) -> str:
        """The session that is played first, or the newest where none is."""
        return self.prices.sessions[min(self.first, len(self.prices.sessions) - 1)]


def plan(prices: Series, start: str | None, benchmark: str | None, *, window: int, decay: float) -> Plan:
    """What to play of these prices.

    start      a date, `LATEST`, or None for the newest `SESSIONS_PLAYED` sessions, or fewer where there are few
    benchmark  as the setting says it: the default counts where there is such a column, another must be one

    Raises `BadFile` where they cannot be streamed or measured, and `BadSetting` for a start that leaves too few.
    """
    _require_streamable(prices)
    first = _first_played(prices, start)
    asked = None if benchmark == BENCHMARK else benchmark
    column = None if benchmark is None else benchmark_of(prices, asked)
    closes = closes_of(prices.until(prices.sessions[first - 1]))
    try:
        return Plan(prices, first, column, scenarios.build_shared(closes, column, window, decay=decay))
    except (TooFewObservations, MissingBenchmark) as error:
        raise BadFile(prices.named, str(error)) from None


def updates_of(positions: Positions) -> list[PortfolioUpdate]:
    """Every portfolio of a file as it is sent, without a time. Raises `BadFile` for what a reader would refuse."""
    now_ns = time.time_ns()
    return [_update(portfolio, positions, now_ns) for portfolio in positions.portfolios]


def unpriced(positions: Positions, symbols: Collection[str]) -> list[str]:
    """A sentence about what is held without a price, if anything is."""
    return _unvalued(positions, set(_held(positions)) - set(symbols), "no price")


def unvalued(positions: Positions, planned: Plan) -> list[str]:
    """Sentences about what is held and will be in no number when the play begins."""
    priced = _priced(planned.prices)
    said = unpriced(positions, priced)
    if planned.benchmark is not None:
        return said
    held = sorted(set(_held(positions)) & priced)
    valued = scenarios.rows_by_symbol(planned.set_before, held, dict.fromkeys(held, Opinion()), np.float64).valued
    gaps = {symbol for symbol, known in zip(held, valued.tolist(), strict=True) if not known}
    return said + _unvalued(positions, gaps, "gaps in its prices that only a --benchmark could fill")


def _require_streamable(prices: Series) -> None:
    for column, symbol in enumerate(prices.symbols):
        if not is_identifier(symbol):
            raise BadFile(prices.named, f"{IDENTIFIER_RULE}: rename the column", column=symbol)
        if np.nanmax(prices.value[:, column], initial=0.0) > PRICE_MAX:
            raise BadFile(prices.named, f"a price above {PRICE_MAX:g}: give it in larger units", column=symbol)
    newest = prices.sessions[-1] if prices.sessions else ""
    if newest > newest_day(time.time_ns()):
        raise BadFile(
            prices.named, f"session {newest} lies in the future: the engine takes no close of it; mend the dates"
        )
    if len(prices.sessions) < SESSIONS_MIN:
        raise BadFile(
            prices.named,
            f"{len(prices.sessions)} sessions with prices, at least {SESSIONS_MIN} are needed to measure risk:"
            " give a longer history, of 500 sessions or more if you have them",
        )


def _first_played(prices: Series, start: str | None) -> int:
    sessions, count = prices.sessions, len(prices.sessions)
    if start is None:
        return max(SESSIONS_MIN, count - SESSIONS_PLAYED)
    if start == LATEST:
        return count
    if not is_date(start):
        raise BadSetting("--from", f"{start!r} is neither a date as 2020-02-19 nor {LATEST!r}")
    first = bisect.bisect_left(sessions, start)
    if first == count:
        raise BadSetting("--from", f"{start} is after the last session, {sessions[-1]}; {LATEST!r} values at its close")
    if first < SESSIONS_MIN:
        earliest = f"the first is {sessions[SESSIONS_MIN]}" if count > SESSIONS_MIN else f"only {LATEST!r} does"
        raise BadSetting("--from", f"{start} leaves {first} sessions before it, {SESSIONS_MIN} are needed; {earliest}")
    return first


def _update(portfolio: Portfolio, positions: Positions, now_ns: int) -> PortfolioUpdate:
    update = PortfolioUpdate(
        id=portfolio.portfolio_id,
        advisor_id=portfolio.advisor_id or ADVISOR,
        positions=[
            Position(symbol, quantity, sector=positions.sectors.get(symbol))
            for symbol, quantity in portfolio.quantities.items()
        ],
        cash=portfolio.cash,
        risk_tolerance=RiskTolerance(portfolio.risk_tolerance or RiskTolerance.MODERATE),
    )
    try:
        # As whoever reads it will.
        return decode_portfolio_update(update.id.encode(), encode(update), now_ns)
    except BadMessage as error:
        raise _refused(error, portfolio, positions) from None


def _refused(error: BadMessage, portfolio: Portfolio, positions: Positions) -> BadFile:
    """Where in the file the field stands that a reader would refuse."""
    found = re.match(r"positions\[(\d+)\](?:\.(\w+))?", error.field)
    if found is None:
        row = next(iter(portfolio.rows.values()), None)
        return BadFile(positions.path, error.detail, row, _COLUMNS.get(error.field, error.field))
    symbol = list(portfolio.quantities)[int(found[1])]
    return BadFile(positions.path, error.detail, portfolio.rows[symbol], found[2] or "symbol")


def _held(positions: Positions) -> Mapping[str, int]:
    """Symbol -> the row in which it is first held."""
    rows: dict[str, int] = {}
    for portfolio in positions.portfolios:
        for symbol in portfolio.quantities:
            rows[symbol] = min(portfolio.rows[symbol], rows.get(symbol, portfolio.rows[symbol]))
    return rows


def _priced(prices: Series) -> set[str]:
    known = np.asarray(np.isfinite(prices.value).any(axis=0), np.bool_)
    return {symbol for symbol, any_price in zip(prices.symbols, known.tolist(), strict=True) if any_price}


def _unvalued(positions: Positions, symbols: Collection[str], why: str) -> list[str]:
    if not symbols:
        return []
    rows = _held(positions)
    named = sorted(symbols, key=rows.__getitem__)
    names = ", ".join(f"{symbol} (row {rows[symbol]})" for symbol in named[:NAMES_SHOWN])
    more = f" and {len(named) - NAMES_SHOWN} more" if len(named) > NAMES_SHOWN else ""
    return [f"{positions.path}: {names}{more}: {why}, so whoever holds it is valued without it"]
