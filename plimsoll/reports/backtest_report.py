"""The backtest of portfolios: what `plimsoll backtest` prints, as plain dicts whose keys are a contract.

`plimsoll.risk.backtest.rolling` states value at risk for each session from the closes before it, and judges. Here is
decided which sessions those are: where a name that is held has no price, the session is left out for its holders, and
so is the next, whose return would be that of several; the report says how many were. Cash neither gains nor loses, so
it is not asked for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from plimsoll.reports.files import BadFile
from plimsoll.reports.flags import BacktestTerms
from plimsoll.reports.methods_table import LEVELS
from plimsoll.reports.positions import Portfolio, Positions
from plimsoll.reports.prices import Series
from plimsoll.reports.risk_report import Report, warnings
from plimsoll.risk import backtest
from plimsoll.risk.arrays import BoolArray, FloatArray
from plimsoll.risk.backtest import LikelihoodRatio, Rolling
from plimsoll.risk.methods import Method
from plimsoll.risk.scenarios import warm_up_sessions

Row: TypeAlias = dict[str, Any]

PORTFOLIOS_AT_A_TIME = 64
"""Thirty-three years of two methods are half a megabyte for each."""


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Portfolios that are judged on the same sessions.

    symbols   (symbol,) all that any of them holds and has prices
    sessions  (session,) those in which all these have one, the window before the first judged session included
    closes    (session, symbol)
    follows   (session - 1,) whether none was left out between each session and the one before it
    left_out  how many sessions in between have no return of one of them
    """

    portfolios: Sequence[Portfolio]
    symbols: Sequence[str]
    sessions: Sequence[str]
    closes: FloatArray
    follows: BoolArray
    left_out: int

    def judged(self, window: int) -> list[str]:
        """The sessions that have a return, and a window of returns before them."""
        return [self.sessions[row + 1] for row in np.flatnonzero(self.follows).tolist()[window:]]


def backtest_report(
    prices: Series, positions: Positions, terms: BacktestTerms, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Every test of every method for every portfolio. `progress` is called with (sessions judged, of how many).

    Raises `BadFile` where no session lies between the first and the last that are asked for.
    """
    known = prices if terms.last is None else prices.until(terms.last)
    if terms.first is not None and known.sessions[-1] < terms.first:
        raise BadFile(prices.named, f"no session from {terms.first} on: the newest one is {known.sessions[-1]}")
    priced = np.isfinite(known.value)
    column = {symbol: index for index, symbol in enumerate(known.symbols) if priced[:, index].any()}
    groups: defaultdict[frozenset[str], list[Portfolio]] = defaultdict(list)
    for portfolio in positions.portfolios:
        held = portfolio.quantities.keys() & column.keys()
        groups[frozenset(symbol for symbol in held if not priced[:, column[symbol]].all())].append(portfolio)
    runs = [
        _run(group[first : first + PORTFOLIOS_AT_A_TIME], known, column, terms)
        for group in groups.values()
        for first in range(0, len(group), PORTFOLIOS_AT_A_TIME)
    ]
    total, done = sum(len(run.judged(terms.window)) for run in runs), 0
    rows: dict[str, Row] = {}
    for run in runs:
        before = done

        def heard(judged: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + judged, total)

        rows |= _judged(run, known, terms, heard)
        done += len(run.judged(terms.window))
    ordered = [rows[portfolio.portfolio_id] for portfolio in positions.portfolios]
    return Report(ordered, warnings(positions, ordered))


def _run(portfolios: Sequence[Portfolio], known: Series, column: dict[str, int], terms: BacktestTerms) -> _Run:
    """The sessions that these portfolios are judged on, and the closes before them."""
    symbols = sorted({symbol for each in portfolios for symbol in each.quantities if symbol in column})
    value = known.value[:, [column[symbol] for symbol in symbols]]
    kept = np.flatnonzero(np.isfinite(value).all(axis=1))
    ends = kept[1:][np.diff(kept) == 1]
    asked = sum(known.sessions[row] < terms.first for row in ends.tolist()) if terms.first is not None else 0
    # Volatilities warm up before the first window; what is older is not looked at, as in a scenario set.
    ends = ends[max(asked - terms.window - warm_up_sessions(terms.model.decay), 0) :]
    if len(ends):
        kept = kept[kept >= ends[0] - 1]
    left_out = len(known.sessions) - int(kept[0]) - 1 - len(ends) if len(kept) else len(known.sessions)
    return _Run(
        portfolios,
        symbols,
        [known.sessions[row] for row in kept.tolist()],
        value[kept],
        np.asarray(np.diff(kept) == 1, np.bool_),
        left_out,
    )


def _judged(run: _Run, known: Series, terms: BacktestTerms, progress: Callable[[int, int], None]) -> dict[str, Row]:
    heads = {each.portfolio_id: _head(each, run, known, terms) for each in run.portfolios}
    sessions = [session for session in run.judged(terms.window) if session >= (terms.first or "")]
    if run.symbols and not sessions:
        problem = (
            f"{int(run.follows.sum())} sessions in which all that it holds has a return: a window of {terms.window}"
            f" needs {terms.window + 1} or more to judge one of them"
        )
        return {name: _refused(head, head["problem"] or problem) for name, head in heads.items()}
    judgeable = [each for each in run.portfolios if heads[each.portfolio_id]["problem"] is None]
    rows = {name: _refused(head, head["problem"]) for name, head in heads.items() if head["problem"] is not None}
    if not judgeable:
        return rows
    rolled = backtest.rolling(
        run.closes,
        np.array([[each.quantities.get(symbol, 0.0) for symbol in run.symbols] for each in judgeable], np.float64),
        window=terms.window,
        methods=terms.methods,
        probabilities=list(LEVELS.values()),
        model=terms.model,
        hold=terms.hold,
        follows=run.follows,
        progress=progress,
    )
    days = slice(len(rolled.sessions) - len(sessions), None)
    for number, portfolio in enumerate(judgeable):
        rows[portfolio.portfolio_id] = heads[portfolio.portfolio_id] | {
            "days": len(sessions),
            "first_session": sessions[0],
            "last_session": sessions[-1],
            "methods": {
                method.value: {
                    confidence: _verdict(rolled, method, number, level, days, sessions)
                    for level, confidence in enumerate(LEVELS)
                }
                for method in terms.methods
            },
        }
    return rows


def _head(portfolio: Portfolio, run: _Run, known: Series, terms: BacktestTerms) -> Row:
    incomplete = {
        symbol: "no price in these sessions" if symbol in known.symbols else "no column in the prices"
        for symbol in sorted(portfolio.quantities)
        if symbol not in run.symbols
    }
    problem = None
    if not portfolio.quantities:
        problem = "it holds nothing, so there is nothing to judge"
    elif len(incomplete) == len(portfolio.quantities):
        problem = "nothing that it holds has a price"
    return {
        "portfolio_id": portfolio.portfolio_id,
        "advisor_id": portfolio.advisor_id,
        "problem": problem,
        "hold": terms.hold.value,
        "days": 0,
        "first_session": None,
        "last_session": None,
        "sessions_left_out": run.left_out,
        "methods": {},
        "incomplete_symbols": list(incomplete),
        "incomplete_reasons": incomplete,
        "parameters": {
            "window": terms.window,
            "lambda": terms.model.decay,
            "decay": terms.model.age_decay,
            "quantile": terms.model.quantile.value,
            "from": terms.first,
            "to": terms.last,
        },
    }


def _refused(head: Row, problem: str) -> Row:
    return head | {"problem": problem}


def _verdict(rolled: Rolling, method: Method, portfolio: int, level: int, days: slice, sessions: Sequence[str]) -> Row:
    pnl = rolled.pnl[portfolio, days]
    at_risk = rolled.value_at_risk[method][portfolio, level, days]
    shortfall = rolled.expected_shortfall[method][portfolio, level, days]
    found = backtest.judge(pnl, at_risk, shortfall, rolled.probabilities[level])
    hit = np.flatnonzero(backtest.exceptions(pnl, at_risk)).tolist()
    return {
        "days": found.days,
        "exceptions": found.exceptions,
        "expected": found.expected,
        "rate": _known(found.rate),
        "kupiec": _ratio(found.kupiec),
        "independence": _ratio(found.christoffersen.independence),
        "conditional_coverage": _ratio(found.christoffersen.conditional_coverage),
        "zone": None if found.zone is None else found.zone.value,
        "z2": None if found.z2 is None else _known(found.z2),
        "z2_rejected": None if found.z2 is None or math.isnan(found.z2) else found.z2_rejected,
        "exception_dates": [sessions[day] for day in hit],
    }


def _ratio(found: LikelihoodRatio) -> Row:
    return {"statistic": _known(found.statistic), "p_value": _known(found.p_value), "rejected": found.rejected}


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
