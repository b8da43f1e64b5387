"""The backtest report: the judged sessions are those asked for, and what is left out is counted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from plimsoll.reports.backtest_report import backtest_report
from plimsoll.reports.files import BadFile
from plimsoll.reports.flags import BacktestTerms
from plimsoll.reports.positions import Portfolio, Positions
from plimsoll.reports.prices import Series
from plimsoll.risk import backtest
from plimsoll.risk.backtest import Hold
from plimsoll.risk.methods import STANDARD, Method
from plimsoll.risk.tails import TAIL_VAR_99

pytestmark = pytest.mark.filterwarnings("error")


def positions(**held: dict[str, float]) -> Positions:
    portfolios = [
        Portfolio(name, dict(quantities), {symbol: row for row, symbol in enumerate(quantities, 2)})
        for name, quantities in held.items()
    ]
    return Positions("positions.csv", portfolios, {}, [])


def without(prices: Series, symbol: str, rows: slice | list[int]) -> Series:
    value = prices.value.copy()
    value[rows, prices.symbols.index(symbol)] = np.nan
    return dataclasses.replace(prices, value=value)


def test_the_verdicts_are_those_of_the_mathematics(market: Series) -> None:
    terms = BacktestTerms(hold=Hold.QUANTITIES)
    (row,) = backtest_report(market, positions(a={"AAA": 2.0, "BBB": -1.0}), terms).rows
    rolled = backtest.rolling(
        market.value[:, :2],
        np.array([[2.0, -1.0]]),
        window=500,
        methods=[Method.HISTORICAL],
        probabilities=[TAIL_VAR_99],
        model=STANDARD,
        hold=Hold.QUANTITIES,
    )
    expected = rolled.verdict(Method.HISTORICAL, 0, 0)
    found = row["methods"]["historical"]["0.99"]
    assert row["methods"].keys() == {"filtered_historical", "historical"}
    assert (row["days"], row["first_session"], row["last_session"]) == (399, market.sessions[501], market.sessions[-1])
    assert (found["days"], found["exceptions"], found["expected"]) == (399, expected.exceptions, 399 * 0.01)
    assert found["kupiec"]["statistic"] == expected.kupiec.statistic
    assert found["zone"] == expected.zone
    assert found["z2"] is None
    assert row["methods"]["historical"]["0.975"]["z2"] is not None
    loss = -rolled.pnl[0]
    beyond = np.flatnonzero(loss > rolled.value_at_risk[Method.HISTORICAL][0, 0])
    assert found["exception_dates"] == [market.sessions[501 + day] for day in beyond.tolist()]


def test_from_and_to_choose_the_judged_sessions_and_change_none_of_them(market: Series) -> None:
    book = positions(a={"AAA": 2.0, "CCC": 1.0})
    first, last = market.sessions[850], market.sessions[880]
    (whole,) = backtest_report(market, book, BacktestTerms(window=60)).rows
    (part,) = backtest_report(market, book, BacktestTerms(window=60, first=first, last=last)).rows
    assert (part["days"], part["first_session"], part["last_session"]) == (31, first, last)
    for method in part["methods"]:
        of_whole = [day for day in whole["methods"][method]["0.95"]["exception_dates"] if first <= day <= last]
        assert part["methods"][method]["0.95"]["exception_dates"] == of_whole


def test_sessions_without_a_price_are_left_out_for_its_holders_and_counted(market: Series) -> None:
    gappy = without(market, "BBB", [600, 601, 700])
    holder, other = backtest_report(gappy, positions(a={"BBB": 1.0}, b={"AAA": 1.0}), BacktestTerms()).rows
    # What BBB did from 599 to 602, and from 699 to 701, is the return of no session.
    assert (holder["days"], holder["sessions_left_out"]) == (394, 5)
    assert (other["days"], other["sessions_left_out"]) == (399, 0)


def test_a_halt_makes_no_exception_of_what_happened_meanwhile(market: Series) -> None:
    fallen = market.value.copy()
    fallen[720:] /= 2.0
    halted = without(dataclasses.replace(market, value=fallen), "BBB", slice(700, 720))
    (row,) = backtest_report(halted, positions(a={"AAA": 1.0, "BBB": 1.0}), BacktestTerms()).rows
    assert (row["days"], row["sessions_left_out"]) == (378, 21)
    for levels in row["methods"].values():
        assert all(market.sessions[720] not in verdict["exception_dates"] for verdict in levels.values())
    asked = BacktestTerms(first=market.sessions[720])
    (part,) = backtest_report(halted, positions(a={"AAA": 1.0, "BBB": 1.0}), asked).rows
    assert (part["days"], part["first_session"]) == (179, market.sessions[721])


def test_what_cannot_be_judged_says_why(market: Series) -> None:
    late = without(market, "BBB", slice(0, 500))
    found = backtest_report(
        late,
        positions(late={"BBB": 1.0}, none={}, ghost={"GHOST": 1.0}, part={"AAA": 1.0, "GHOST": 1.0}),
        BacktestTerms(),
    )
    problems = {row["portfolio_id"]: row["problem"] for row in found.rows}
    assert problems["late"].startswith("399 sessions in which all that it holds has a return")
    assert problems["none"] == "it holds nothing, so there is nothing to judge"
    assert problems["ghost"] == "nothing that it holds has a price"
    assert problems["part"] is None
    assert found.rows[3]["incomplete_symbols"] == ["GHOST"]
    assert "positions.csv, row 2 and 1 more, column symbol: GHOST is in no number: no column in the prices" in (
        found.warnings
    )
    assert found.any_measured


def test_no_session_to_judge_is_an_error(market: Series) -> None:
    with pytest.raises(BadFile, match="no session from 2030-01-01 on"):
        backtest_report(market, positions(a={"AAA": 1.0}), BacktestTerms(first="2030-01-01"))


def test_weights_and_quantities_are_different_pasts(market: Series) -> None:
    book = positions(a={"AAA": 1.0, "BBB": 1.0})
    units, weights = (
        backtest_report(market, book, BacktestTerms(hold=hold)).rows[0] for hold in (Hold.QUANTITIES, Hold.WEIGHTS)
    )
    assert (units["hold"], weights["hold"]) == ("quantities", "weights")
    assert units["methods"] != weights["methods"]


def test_progress_counts_judged_sessions(market: Series) -> None:
    heard: list[tuple[int, int]] = []
    book = positions(**{f"p{number}": {"AAA": 1.0} for number in range(70)})
    terms = BacktestTerms(methods=[Method.NORMAL])
    backtest_report(market, book, terms, lambda done, total: heard.append((done, total)))
    assert heard[-1] == (798, 798)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
