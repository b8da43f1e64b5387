from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from engine.ledger import Ledger, Record
from engine.market import scenario_set_record
from plimsoll.messages import PortfolioUpdate, Position, ScenarioSetRecord, decode, encode
from plimsoll.risk.scenarios import Closes, build
from plimsoll.risk.stress import ANCHOR_SESSIONS
from plimsoll.topics import PORTFOLIO_UPDATES

Take = Callable[[Sequence[Record]], Ledger]
Sessions = list[tuple[str, dict[str, float]]]


@pytest.fixture
def closed(take: Take, feed: Any, sessions: Sessions) -> Ledger:
    """A ledger that has read every session."""
    return take([feed.close(session, closes) for session, closes in sessions])


def test_nothing_can_be_valued_before_there_is_a_scenario_set(take: Take, feed: Any, sessions: Sessions) -> None:
    marks = take([feed.close(*sessions[0]), feed.tick("AAPL", 1.0)]).marks
    assert marks.roll() is None
    assert marks.valuation(dict) is None
    assert "at least 60" in marks.why_no_scenarios


def test_the_scenario_set_rolls_once_for_all_closes_that_came(closed: Ledger) -> None:
    rolled = closed.marks.roll()
    assert rolled is not None
    assert rolled.observations == 500
    assert closed.marks.roll() is None


def test_closes_in_any_order_and_twice_give_the_same_set(
    take: Take, feed: Any, closed: Ledger, sessions: Sessions
) -> None:
    first, now_ns = closed.marks.roll(), 1_700_000_000 * 10**9
    shuffled = Ledger.recovered(None, "SP500", 500, 0.94)
    rng = np.random.default_rng(3)
    for index in [*rng.permutation(len(sessions)).tolist(), 7, 7]:
        shuffled.take(feed.close(*sessions[index]), now_ns)
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
    assert second.scenario_sessions == (*first.scenario_sessions[1:], "2022-12-29")


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
    before = closed.marks.valuation(dict)
    assert before is not None
    assert np.isnan(before.mark[number])
    assert not before.filtered[number].any()
    assert not before.historical[number].any()

    take([feed.tick("NEWCO", 50.0, beta=1.5, volatility=0.4)])
    after = closed.marks.valuation(dict)
    assert after is not None
    assert after.mark[number] == 50.0
    assert not after.own_history[number]
    assert after.historical[number].std(ddof=1) * np.sqrt(252) == pytest.approx(0.4, rel=1e-4)


def test_what_is_said_anew_of_a_proxied_symbol_is_heard_at_the_next_beat(closed: Ledger, take: Take, feed: Any) -> None:
    marks, book = closed.marks, closed.book
    marks.roll()
    take([feed.tick("NEWCO", 50.0, volatility=0.4), feed.portfolio("p-0", {"NEWCO": 1.0})])
    number = book.symbols.number("NEWCO")
    first = marks.valuation(book.sectors)
    assert not marks.reconsider_proxies(book.sectors)
    take([feed.tick("NEWCO", 50.0, volatility=0.8), feed.tick("AAPL", 1.0, volatility=9.0)])
    assert marks.reconsider_proxies(book.sectors)
    second = marks.valuation(book.sectors)
    assert first is not None
    assert second is not None
    assert second.historical[number].std() == pytest.approx(2 * first.historical[number].std(), rel=1e-4)
    assert not marks.reconsider_proxies(book.sectors)


def test_a_proxy_follows_the_sector_that_the_position_states(take: Take, feed: Any, sessions: Sessions) -> None:
    sectors = {"AAPL": "Technology", "MSFT": "Technology", "AMD": "Technology", "KO": "Consumer"}
    ledger = take([feed.close(session, closes, sectors) for session, closes in sessions])
    ledger.marks.roll()
    volatility = {}
    for name, sector in (("N-1", "Technology"), ("N-2", "Consumer")):
        held = Position(name, 1.0, sector=sector)
        update = PortfolioUpdate(id=f"of-{name}", advisor_id="advisor-1", positions=[held])
        take([feed.tick(name, 10.0), feed.record(PORTFOLIO_UPDATES, update.id.encode(), encode(update))])
        market = ledger.marks.valuation(ledger.book.sectors)
        assert market is not None
        volatility[name] = market.historical[ledger.book.symbols.number(name)].std(ddof=1)
    by_symbol = {
        symbol: np.diff([c[symbol] for _, c in sessions]) / [c[symbol] for _, c in sessions[:-1]] for symbol in sectors
    }
    assert volatility["N-1"] == pytest.approx(
        np.median([by_symbol[s].std(ddof=1) for s in list(sectors)[:3]]), rel=1e-4
    )
    assert volatility["N-2"] == pytest.approx(by_symbol["KO"].std(ddof=1), rel=1e-4)


def test_the_served_set_is_built_again_to_the_same_id(take: Take, feed: Any, all_sessions: Sessions) -> None:
    ledger = take([feed.close(session, closes, {"AAPL": "Technology"}) for session, closes in all_sessions])
    rolled = ledger.marks.roll()
    assert rolled is not None
    assert len(rolled.sessions) == 1260
    assert rolled.stress_returns["financial-crisis-2007"]["BAC"] < -0.9
    record = decode(encode(scenario_set_record(rolled)), ScenarioSetRecord)
    price = np.frombuffer(record.closes).reshape(len(record.sessions), len(record.symbols))
    again = build(
        Closes(tuple(record.sessions), tuple(record.symbols), price), record.benchmark, record.window,
        decay=record.decay, sectors=record.sectors, stress_returns=record.stress_returns,
    )  # fmt: skip
    assert again.scenario_set_id == record.scenario_set_id == rolled.scenario_set_id
    assert np.array_equal(again.filtered, rolled.filtered)


def test_the_last_close_is_the_same_whether_its_session_was_lived_through_or_read_later(
    take: Take, feed: Any, sessions: Sessions
) -> None:
    closes = [feed.close(session, prices) for session, prices in sessions[:-1]]
    session, prices = sessions[-1]
    # AAPL did not trade in the last session.
    closes.append(feed.close(session, {symbol: price for symbol, price in prices.items() if symbol != "AAPL"}))
    ledger = take([feed.tick("AAPL", 100.0), *closes])
    ledger.marks.roll()
    assert ledger.marks.mark("AAPL").previous_close == sessions[-2][1]["AAPL"]
    # A correction takes that one back as well.
    take([feed.close(sessions[-2][0], {"SP500": 3_000.0})])
    ledger.marks.roll()
    assert ledger.marks.mark("AAPL").previous_close == sessions[-3][1]["AAPL"]


def test_only_what_a_set_is_made_of_is_kept(take: Take, feed: Any, all_sessions: Sessions) -> None:
    marks = take([feed.close(session, closes) for session, closes in all_sessions]).marks
    marks.roll()
    assert len(marks.closes) == 1260 + 2
    assert set(marks.at_stress) == {each for each in ANCHOR_SESSIONS if each >= all_sessions[0][0]}


def test_a_recovered_ledger_values_with_the_same_marks(closed: Ledger, take: Take, feed: Any) -> None:
    take([feed.tick("AAPL", 123.0, beta=1.1)])
    recovered = Ledger.recovered(closed.recovery_state(), "SP500", 500, 0.94)
    mark = recovered.marks.mark("AAPL")
    assert (mark.price, mark.beta, mark.event_time_ns) == (123.0, 1.1, closed.marks.mark("AAPL").event_time_ns)


def test_symbols_that_never_close_cost_no_column_of_closes(take: Take, feed: Any, sessions: Sessions) -> None:
    take([feed.portfolio("made-up", {f"X-{number}": 1.0 for number in range(500)})])
    ledger = take([feed.close(session, closes) for session, closes in sessions])
    rolled = ledger.marks.roll()
    assert rolled is not None
    assert rolled.symbols == tuple(sorted(sessions[-1][1]))
    assert {len(row) for row in ledger.marks.closes.values()} == {len(rolled.symbols)}
    market = ledger.marks.valuation(ledger.book.sectors)
    assert market is not None
    last = [market.previous_close[ledger.book.symbols.number(symbol)] for symbol in rolled.symbols]
    assert last == [sessions[-1][1][symbol] for symbol in rolled.symbols]
