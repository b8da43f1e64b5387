"""The live backtest: each session judged once, by what was known the evening before."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from engine.backtest import backtest_record, judge
from engine.columns import RECENT_SESSIONS_MAX
from engine.ledger import Ledger, Record
from plimsoll.risk.measures import Choice
from plimsoll.risk.scenarios import Closes, build

Take = Callable[[Sequence[Record]], Ledger]
Sessions = list[tuple[str, dict[str, float]]]
HELD = {"AAPL": 100.0, "XOM": -50.0, "JNJ": 200.0}


def judged(ledger: Ledger, after: str) -> list[str]:
    """Judge what closed after a session; the sessions judged."""
    ledger.marks.roll()
    told = ledger.marks.sessions_after(after)
    for session in told:
        closed = ledger.marks.closed_session(session)
        assert closed is not None
        judge(ledger.book, closed, Choice())
    return told


@pytest.fixture
def ledger_before_the_crash(take: Take, feed: Any, all_sessions: Sessions) -> tuple[Ledger, Sessions]:
    """A portfolio held from the eve of 2020-02-24 on, and the sessions that follow."""
    eve = [session for session, _ in all_sessions].index("2020-02-21")
    ledger = take([feed.close(session, closes) for session, closes in all_sessions[eve - 600 : eve + 1]])
    take([feed.portfolio("p", HELD), feed.portfolio("cash", {}, cash=100.0)])
    assert judged(ledger, "2020-02-21") == []
    return ledger, all_sessions[eve + 1 :]


def test_exceptions_are_the_losses_beyond_the_value_at_risk_of_the_evening_before(
    ledger_before_the_crash: tuple[Ledger, Sessions], take: Take, feed: Any, all_sessions: Sessions
) -> None:
    ledger, following = ledger_before_the_crash
    last = "2020-02-21"
    for session, closes in following[:20]:
        take([feed.close(session, closes)])
        assert judged(ledger, last) == [session]
        last = session

    eve = [session for session, _ in all_sessions].index("2020-02-21")
    expected = ""
    for at in range(eve + 1, eve + 21):
        known = build(Closes.of(all_sessions[eve - 600 : at]), "SP500", 500)
        before, after = all_sessions[at - 1][1], all_sessions[at][1]
        exposure = np.array([HELD.get(symbol, 0.0) * before[symbol] for symbol in known.symbols])
        value_at_risk = np.quantile(-known.filtered @ exposure, 0.95, method="inverted_cdf")
        loss = -sum(quantity * (after[symbol] - before[symbol]) for symbol, quantity in HELD.items())
        expected += "1" if loss > value_at_risk else "0"

    record = backtest_record(ledger.book, ledger.book.row_of["p"])
    assert record is not None
    assert record.recent_95 == expected
    assert "1" in expected
    assert record.exceptions_95 == expected.count("1") >= record.exceptions_99 == record.recent_99.count("1")
    assert (record.sessions, record.first_session, record.last_session) == (20, "2020-02-24", following[19][0])


def test_cash_never_loses_more_than_nothing(
    ledger_before_the_crash: tuple[Ledger, Sessions], take: Take, feed: Any
) -> None:
    ledger, following = ledger_before_the_crash
    take([feed.close(*following[0])])
    judged(ledger, "2020-02-21")
    record = backtest_record(ledger.book, ledger.book.row_of["cash"])
    assert record is not None
    assert (record.sessions, record.exceptions_95, record.exceptions_99) == (1, 0, 0)


def test_what_cannot_be_valued_is_not_judged(
    ledger_before_the_crash: tuple[Ledger, Sessions], take: Take, feed: Any
) -> None:
    ledger, following = ledger_before_the_crash
    take([feed.portfolio("unpriced", {"NOBODY": 10.0}), feed.portfolio("partly", {"NOBODY": 10.0, "AAPL": 1.0})])
    take([feed.close(*following[0])])
    judged(ledger, "2020-02-21")
    assert backtest_record(ledger.book, ledger.book.row_of["unpriced"]) is None
    partly = backtest_record(ledger.book, ledger.book.row_of["partly"])
    assert partly is not None
    assert partly.sessions == 1


def test_a_portfolio_is_judged_from_the_first_close_after_it_was_stated(
    ledger_before_the_crash: tuple[Ledger, Sessions], take: Take, feed: Any
) -> None:
    ledger, following = ledger_before_the_crash
    take([feed.close(*following[0])])
    judged(ledger, "2020-02-21")
    take([feed.portfolio("late", HELD)])
    assert backtest_record(ledger.book, ledger.book.row_of["late"]) is None
    take([feed.close(*following[1])])
    judged(ledger, following[0][0])
    record = backtest_record(ledger.book, ledger.book.row_of["late"])
    assert record is not None
    assert (record.sessions, record.first_session) == (1, following[1][0])


def test_a_close_does_not_judge_what_was_stated_after_it_was_sent(
    ledger_before_the_crash: tuple[Ledger, Sessions], take: Take, feed: Any
) -> None:
    """Both may be read in one window; what the portfolio held at the close is in no log any more."""
    ledger, following = ledger_before_the_crash
    at_the_close = replace(feed.close(*following[0]), time_ms=1_000)
    take([at_the_close, replace(feed.portfolio("cash", HELD), time_ms=1_001)])
    judged(ledger, "2020-02-21")
    assert backtest_record(ledger.book, ledger.book.row_of["cash"]) is None
    assert backtest_record(ledger.book, ledger.book.row_of["p"]) is not None


def test_a_close_that_is_corrected_judges_whom_the_first_one_did(
    ledger_before_the_crash: tuple[Ledger, Sessions], take: Take, feed: Any
) -> None:
    ledger, following = ledger_before_the_crash
    session, closes = following[0]
    first, later = (replace(feed.close(session, closes), time_ms=each) for each in (1_000, 9_000))
    take([first, replace(feed.portfolio("late", HELD), time_ms=5_000), later])
    judged(ledger, "2020-02-21")
    assert backtest_record(ledger.book, ledger.book.row_of["late"]) is None


def test_sessions_missed_while_the_engine_was_away_are_judged_when_it_is_back(
    ledger_before_the_crash: tuple[Ledger, Sessions], take: Take, feed: Any
) -> None:
    ledger, following = ledger_before_the_crash
    saved = pickle.dumps(ledger.recovery_state())
    closes = [feed.close(session, prices) for session, prices in following[:3]]
    one_at_a_time, last = ledger, "2020-02-21"
    for record, (session, _) in zip(closes, following, strict=False):
        take([record])
        judged(one_at_a_time, last)
        last = session

    back = Ledger.recovered(pickle.loads(saved), "SP500", 500, 0.94)
    back.marks.closed, back.marks.closes = one_at_a_time.marks.closed, dict(one_at_a_time.marks.closes)
    back.marks.closed_ms = dict(one_at_a_time.marks.closed_ms)
    back.marks._closes_changed = True
    assert judged(back, "2020-02-21") == [session for session, _ in following[:3]]
    for name in ("p", "cash"):
        assert backtest_record(back.book, back.book.row_of[name]) == backtest_record(
            ledger.book, ledger.book.row_of[name]
        )


def test_the_newest_sessions_are_kept_one_by_one_and_the_rest_counted(
    take: Take, feed: Any, sessions: Sessions
) -> None:
    ledger = take([feed.portfolio("p", HELD)])
    row = ledger.book.row_of["p"]
    take([feed.close(session, closes) for session, closes in sessions[:62]])
    ledger.marks.roll()
    closed = ledger.marks.closed_session(sessions[61][0])
    assert closed is not None
    crash = closed._replace(move=-closed.market.mark)
    for number in range(RECENT_SESSIONS_MAX + 5):
        judge(
            ledger.book,
            crash if number in (0, RECENT_SESSIONS_MAX) else closed._replace(move=closed.move * 0),
            Choice(),
        )
    record = backtest_record(ledger.book, row)
    assert record is not None
    assert (record.sessions, record.exceptions_99) == (RECENT_SESSIONS_MAX + 5, 2)
    assert record.recent_99 == "0" * (RECENT_SESSIONS_MAX - 5) + "10000"
