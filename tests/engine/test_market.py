from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from engine.ledger import Ledger, Record
from engine.market import scenario_set_record

Take = Callable[[Sequence[Record]], Ledger]
Sessions = list[tuple[str, dict[str, float]]]


@pytest.fixture
def closed(take: Take, feed: Any, sessions: Sessions) -> Ledger:
    """A ledger that has read every session."""
    return take([feed.close(session, closes) for session, closes in sessions])


def test_nothing_can_be_valued_before_there_is_a_scenario_set(take: Take, feed: Any, sessions: Sessions) -> None:
    marks = take([feed.close(*sessions[0]), feed.tick("AAPL", 1.0)]).marks
    assert marks.roll() is None
    assert marks.valuation() is None
    assert "at least 60" in marks.why_no_scenarios


def test_the_scenario_set_rolls_once_for_all_closes_that_came(closed: Ledger) -> None:
    rolled = closed.marks.roll()
    assert rolled is not None
    assert rolled.observations == 500
    assert closed.marks.roll() is None


def test_closes_in_any_order_and_twice_give_the_same_set(
    take: Take, feed: Any, closed: Ledger, sessions: Sessions
) -> None:
    first = closed.marks.roll()
    shuffled = Ledger.recovered(None, "SP500", 500)
    rng = np.random.default_rng(3)
    for index in [*rng.permutation(len(sessions)).tolist(), 7, 7]:
        shuffled.take(feed.close(*sessions[index]), 0)
    again = shuffled.marks.roll()
    assert first is not None
    assert again is not None
    assert again.scenario_set_id == first.scenario_set_id


def test_a_new_session_pushes_the_oldest_out(closed: Ledger, take: Take, feed: Any, sessions: Sessions) -> None:
    first = closed.marks.roll()
    take([feed.close("2022-12-29", sessions[-1][1])])
    second = closed.marks.roll()
    assert first is not None
    assert second is not None
    assert second.sessions == (*first.sessions[1:], "2022-12-29")


def test_a_tick_replaces_the_mark_and_says_that_it_moved(take: Take, feed: Any) -> None:
    marks = take([feed.tick("AAPL", 1.0)]).marks
    assert marks.take_moved().tolist() == [True]
    take([feed.tick("AAPL", 1.0)])
    assert marks.take_moved().tolist() == [False]
    take([feed.tick("AAPL", 2.0)])
    assert marks.take_moved().tolist() == [True]
    assert marks.mark("AAPL").price == 2.0


def test_a_symbol_without_history_is_proxied_from_its_first_price_on(closed: Ledger, take: Take, feed: Any) -> None:
    closed.marks.roll()
    take([feed.portfolio("p-0", {"NEWCO": 1.0})])
    number = closed.book.symbols.number("NEWCO")
    before = closed.marks.valuation()
    assert before is not None
    assert np.isnan(before.mark[number])
    assert not before.returns[number].any()

    take([feed.tick("NEWCO", 50.0, beta=1.5, volatility=0.4)])
    after = closed.marks.valuation()
    assert after is not None
    assert after.mark[number] == 50.0
    assert not after.own_history[number]
    assert after.returns[number].std(ddof=1) * np.sqrt(252) == pytest.approx(0.4, rel=1e-4)


def test_the_served_set_carries_the_returns_bit_for_bit(closed: Ledger) -> None:
    rolled = closed.marks.roll()
    assert rolled is not None
    record = scenario_set_record(rolled)
    served = np.frombuffer(record.returns).reshape(len(record.sessions), len(record.symbols))
    assert np.array_equal(served, rolled.returns)


def test_a_recovered_ledger_values_with_the_same_marks(closed: Ledger, take: Take, feed: Any) -> None:
    take([feed.tick("AAPL", 123.0, beta=1.1)])
    recovered = Ledger.recovered(closed.recovery_state(), "SP500", 500)
    mark = recovered.marks.mark("AAPL")
    assert (mark.price, mark.beta, mark.event_time_ns) == (123.0, 1.1, closed.marks.mark("AAPL").event_time_ns)
