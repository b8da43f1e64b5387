from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

import engine.market
import engine.window
from engine.ledger import Record
from engine.sources import Poll
from engine.tally import DeadLetterBurst
from engine.window import Revaluation, Window
from plimsoll import __version__
from plimsoll.messages import Heartbeat, Replay, RiskSnapshot, decode, encode
from plimsoll.settings import Settings

Sessions = list[tuple[str, dict[str, float]]]
SECOND_NS = 10**9


class Clock:
    """Time as the test tells it."""

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000 * SECOND_NS

    def __call__(self) -> int:
        return self.now_ns

    def pass_seconds(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def revaluation(clock: Clock) -> Revaluation:
    return Revaluation(Settings(republish_seconds=2), 0, 1, None, clock)


@pytest.fixture
def history(feed: Any, sessions: Sessions) -> list[Record]:
    """Every close, then every symbol's price."""
    ticks = [feed.tick(symbol, price) for symbol, price in sessions[-1][1].items()]
    return [feed.close(session, closes) for session, closes in sessions] + ticks


def end(revaluation: Revaluation, clock: Clock, seconds: float = 0.05) -> list[Window]:
    clock.pass_seconds(seconds)
    windows, _ = revaluation.on_notify()
    return list(windows)


def snapshots(windows: Sequence[Window]) -> list[RiskSnapshot]:
    return [msgspec.json.decode(one.snapshot, type=RiskSnapshot) for w in windows for one in w.publications]


def test_nothing_is_valued_before_the_market_has_been_read(
    revaluation: Revaluation, clock: Clock, feed: Any, history: list[Record]
) -> None:
    revaluation.on_batch([Poll([feed.portfolio("p-0", {"AAPL": 1.0}), *history], caught_up=False)])
    assert snapshots(end(revaluation, clock)) == []
    revaluation.on_batch([Poll([], caught_up=True)])
    assert [one.portfolio_id for one in snapshots(end(revaluation, clock))] == ["p-0"]


@pytest.fixture
def running(
    revaluation: Revaluation, clock: Clock, feed: Any, history: list[Record]
) -> Callable[[Sequence[Record]], list[RiskSnapshot]]:
    """A worker that has valued two portfolios; give it records and get the snapshots of the window they fall into."""
    portfolios = [feed.portfolio("p-0", {"AAPL": 1.0}), feed.portfolio("p-1", {"XOM": 1.0})]
    revaluation.on_batch([Poll([*history, *portfolios], caught_up=True)])
    end(revaluation, clock)

    def window_of(records: Sequence[Record]) -> list[RiskSnapshot]:
        revaluation.on_batch([Poll(list(records), caught_up=True)])
        return snapshots(end(revaluation, clock))

    return window_of


def test_ticks_of_one_window_make_one_snapshot_with_the_last_price(running: Any, feed: Any) -> None:
    (only,) = running([feed.tick("AAPL", 100.0), feed.tick("AAPL", 101.0), feed.tick("AAPL", 102.0)])
    assert (only.portfolio_id, only.market_value) == ("p-0", 102.0)


def test_a_tick_that_moves_nothing_and_a_symbol_nobody_holds_make_no_snapshot(running: Any, feed: Any) -> None:
    running([feed.tick("AAPL", 100.0)])
    assert running([feed.tick("AAPL", 100.0), feed.tick("KO", 5.0)]) == []


def test_a_close_rolls_the_set_and_everyone_is_valued_anew(running: Any, feed: Any, sessions: Sessions) -> None:
    rolled = running([feed.close("2022-12-29", sessions[-1][1])])
    assert {one.scenario_set_id[:10] for one in rolled} == {"2022-12-29"}
    assert len(rolled) == 2


def test_who_was_away_for_many_sessions_judges_them_one_window_after_another(
    revaluation: Revaluation, clock: Clock, feed: Any, history: list[Record], sessions: Sessions, monkeypatch: Any
) -> None:
    monkeypatch.setattr(engine.window, "JUDGING_SECONDS", 0.0)
    revaluation.on_batch([Poll([*history, feed.portfolio("p-0", {"AAPL": 1.0})], caught_up=True)])
    end(revaluation, clock)
    missed = [feed.close(f"2023-01-0{day}", sessions[-1][1]) for day in (3, 4, 5)]
    revaluation.on_batch([Poll(missed, caught_up=True)])
    counted = []
    for _ in range(4):
        end(revaluation, clock)
        state = revaluation.snapshot()
        counted.append((state["judged_to"], int(state["book"]["rows"]["judged"][0])))
    assert counted == [("2023-01-03", 1), ("2023-01-04", 2), ("2023-01-05", 3), ("2023-01-05", 3)]


def test_history_that_comes_while_nothing_is_held_through_it_costs_no_scenario_sets(
    revaluation: Revaluation, clock: Clock, feed: Any, history: list[Record], sessions: Sessions, monkeypatch: Any
) -> None:
    """A set of an evening before takes ten milliseconds: a thousand of them in one window once made a worker hang."""
    revaluation.on_batch([Poll(history[:400], caught_up=True)])
    end(revaluation, clock)
    monkeypatch.setattr(engine.market.Marks, "closed_session", lambda *_: pytest.fail("a session was prepared"))
    late = msgspec.structs.replace(feed.portfolio("p-0", {"AAPL": 1.0}), time_ms=1)
    revaluation.on_batch([Poll([*history[400:], late], caught_up=True)])
    end(revaluation, clock)
    state = revaluation.snapshot()
    assert (state["judged_to"], int(state["book"]["rows"]["judged"][0])) == (sessions[-1][0], 0)


def test_sequences_never_go_back(running: Any, feed: Any) -> None:
    seen = [int(one.sequence) for n in range(1, 9) for one in running([feed.tick("AAPL", 100.0 + n)])]
    assert len(seen) == 8
    assert seen == sorted(set(seen))


def test_no_portfolio_is_published_more_than_twenty_times_a_second(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any
) -> None:
    running([feed.tick("AAPL", 99.0)])
    made = []
    for n in range(100):
        revaluation.on_batch([Poll([feed.tick("AAPL", 100.0 + n)], caught_up=True)])
        made += snapshots(end(revaluation, clock, seconds=0.01))
    assert len([one for one in made if one.portfolio_id == "p-0"]) == 20


def test_what_waited_for_its_turn_is_published_without_another_tick(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any
) -> None:
    running([feed.tick("AAPL", 99.0)])
    revaluation.on_batch([Poll([feed.tick("AAPL", 100.0)], caught_up=True)])
    assert snapshots(end(revaluation, clock, seconds=0.01)) == []
    assert [one.market_value for one in snapshots(end(revaluation, clock, seconds=0.05))] == [100.0]


# --- more than can be published ---------------------------------------------------------------------------------------


@pytest.fixture
def crowded(clock: Clock, feed: Any, history: list[Record]) -> Revaluation:
    """Forty portfolios, all valued; of what the market moves five may go out in a window."""
    made = Revaluation(Settings(publish_rate=100), 0, 1, None, clock)
    portfolios = [feed.portfolio(f"p-{n:02}", {"AAPL": 1.0, "XOM": 100.0 * n}) for n in range(40)]
    made.on_batch([Poll([*history, *portfolios], caught_up=True)])
    assert len(snapshots(end(made, clock))) == 40, "what is new is not held back"
    return made


def test_what_the_market_moves_goes_out_at_its_rate_the_largest_moves_first(
    crowded: Revaluation, clock: Clock, feed: Any
) -> None:
    crowded.on_batch([Poll([feed.tick("AAPL", 500.0)], caught_up=True)])
    first = [one.portfolio_id for one in snapshots(end(crowded, clock))]
    assert len(first) == 5
    assert {"p-00", "p-01"} <= set(first)  # of which AAPL is most


def test_whatever_waits_is_published_in_the_end_with_the_newest_price(
    crowded: Revaluation, clock: Clock, feed: Any
) -> None:
    crowded.on_batch([Poll([feed.tick("AAPL", 500.0)], caught_up=True)])
    published = snapshots(end(crowded, clock))
    crowded.on_batch([Poll([feed.tick("AAPL", 400.0)], caught_up=True)])
    for _ in range(12):
        published += snapshots(end(crowded, clock))
    newest = {one.portfolio_id: one for one in published}
    assert len(newest) == 40
    assert newest["p-00"].market_value == 400.0
    assert snapshots(end(crowded, clock)) == []


def test_an_update_does_not_wait_behind_what_the_market_moves(crowded: Revaluation, clock: Clock, feed: Any) -> None:
    crowded.on_batch([Poll([feed.tick("AAPL", 500.0), feed.portfolio("p-39", {"KO": 3.0})], caught_up=True)])
    published = snapshots(end(crowded, clock))
    assert len(published) == 6
    assert "p-39" in {one.portfolio_id for one in published}


def test_a_new_scenario_set_does_not_wait_either(
    crowded: Revaluation, clock: Clock, feed: Any, sessions: Sessions
) -> None:
    crowded.on_batch([Poll([feed.close("2022-12-29", sessions[-1][1])], caught_up=True)])
    assert len(snapshots(end(crowded, clock))) == 40


def test_a_book_that_is_due_as_a_whole_takes_several_windows(
    crowded: Revaluation, clock: Clock, feed: Any, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.window, "PORTFOLIOS_PER_WINDOW_MAX", 15)
    crowded.on_batch([Poll([feed.close("2022-12-29", sessions[-1][1])], caught_up=True)])
    parts = [[one.portfolio_id for one in snapshots(end(crowded, clock))] for _ in range(4)]
    assert [len(part) for part in parts] == [15, 15, 10, 0]
    assert len({portfolio_id for part in parts for portfolio_id in part}) == 40


def test_a_window_says_when_its_oldest_tick_was_written(crowded: Revaluation, clock: Clock, feed: Any) -> None:
    early, late = (
        msgspec.structs.replace(feed.tick("AAPL", price), time_ms=ms) for price, ms in ((500.0, 7_000), (501.0, 8_000))
    )
    crowded.on_batch([Poll([early, late], caught_up=True)])
    told = [(bool(window.publications), window.oldest_tick_ms) for window in end(crowded, clock)]
    assert (True, 7_000) in told, "with what knows of it, because there it is timed"
    assert max((window.oldest_tick_ms for window in end(crowded, clock)), default=0) == 0


def test_a_flood_of_dead_letters_stops_the_worker(clock: Clock, feed: Any) -> None:
    made = Revaluation(Settings(dead_letter_share=0.5, dead_letter_newest=100), 0, 1, None, clock)
    with pytest.raises(DeadLetterBurst, match="market-data"):
        made.on_batch([Poll([feed.record(*_poison()) for _ in range(100)], caught_up=True)])


def test_a_clock_that_is_put_back_holds_nothing_up(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any
) -> None:
    running([feed.tick("AAPL", 99.0)])
    clock.pass_seconds(-3600.0)
    revaluation.on_batch([Poll([feed.tick("AAPL", 100.0)], caught_up=True)])
    due = revaluation.notify_at()
    assert due is not None
    assert due.timestamp() <= clock.now_ns / 1e9 + 0.05
    windows = end(revaluation, clock)
    assert [one.market_value for one in snapshots(windows) if one.portfolio_id == "p-0"] == [100.0]
    assert any(window.heartbeat for window in windows)


# --- beats ------------------------------------------------------------------------------------------------------------


def test_every_portfolio_is_offered_again_without_any_input(
    running: Any, revaluation: Revaluation, clock: Clock
) -> None:
    offered = [one for _ in range(2) for w in end(revaluation, clock, seconds=1.0) for one in w.publications]
    assert sorted(one.portfolio_id for one in offered) == ["p-0", "p-1"]
    assert all(one.positions for one in offered)


def test_everything_is_offered_at_once_where_redis_was_emptied(clock: Clock, feed: Any, history: list[Record]) -> None:
    emptied = threading.Event()
    made = Revaluation(Settings(), 0, 1, None, clock, emptied=emptied)
    made.on_batch([Poll([*history, *(feed.portfolio(f"p-{n:02}", {"AAPL": 1.0}) for n in range(40))], caught_up=True)])
    end(made, clock)
    assert len(snapshots(end(made, clock, seconds=1.0))) < 40
    emptied.set()
    windows = end(made, clock, seconds=0.1)
    assert not any(window.heartbeat for window in windows), "it does not wait for a beat"
    offered = [one for window in windows for one in window.publications]
    assert len(offered) == 40
    assert all(one.positions and one.again for one in offered)
    assert any(window.scenario_set for window in windows)
    assert any("AAPL" in window.marks for window in windows)
    assert len(snapshots(end(made, clock, seconds=1.0))) < 40


def test_an_advisor_whose_last_portfolio_was_closed_is_taken_out_also_between_two_beats(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any
) -> None:
    end(revaluation, clock, seconds=1.0)
    revaluation.on_batch([Poll([feed.closed("p-0"), feed.closed("p-1")], caught_up=True)])
    windows = end(revaluation, clock, seconds=0.3)
    assert not any(window.heartbeat for window in windows)
    assert [gone for window in windows for gone in window.advisors_gone] == ["advisor-1"]


def test_a_beat_a_second_says_how_the_worker_is(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any
) -> None:
    running([feed.record(*_poison())])
    (beat,) = [w.heartbeat for w in end(revaluation, clock, seconds=1.0) if w.heartbeat]
    assert (beat.state, beat.portfolios, beat.dead_lettered, beat.stale) == ("running", 2, 1, 0)
    assert beat.applied == 501 + 21 + 2
    assert beat.last_session == "2022-12-28"
    assert [w for w in end(revaluation, clock, seconds=0.5) if w.heartbeat] == []


def test_a_beat_says_where_the_worker_is_and_how_far_behind(
    running: Any, revaluation: Revaluation, clock: Clock
) -> None:
    def beat() -> Heartbeat:
        (found,) = [window.heartbeat for window in end(revaluation, clock, seconds=1.0) if window.heartbeat]
        return decode(encode(found), Heartbeat)

    running([])
    first = beat()
    assert (first.version, first.host) == (__version__, socket.gethostname())
    assert (first.health, first.lag) == (None, None)  # nobody has said either yet
    revaluation._vitals.health_address = "127.0.0.1:9464"
    revaluation._vitals.lag({("market-data", 0): 3, ("portfolio-updates", 7): 4})
    assert (beat().health, beat().lag) == ("127.0.0.1:9464", 7)


def test_a_beat_says_which_session_is_played_as_the_newest_price_does(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any
) -> None:
    def played() -> Replay | None:
        (beat,) = [window.heartbeat for window in end(revaluation, clock, seconds=1.0) if window.heartbeat]
        # However it is written down, whoever reads it finds the same.
        found: Replay | None = decode(encode(beat), Heartbeat).replay
        return found

    running([])
    assert played() is None  # none of these prices says so
    running([feed.tick("AAPL", 140.0, session="2022-12-29", session_seconds=20.0)])
    assert played() == Replay("2022-12-29", 20.0)
    day, seconds = {"session": "2022-12-29"}, {"session_seconds": 20.0}
    running([feed.tick("AAPL", 140.5, source="replay", **day)])
    assert played() == Replay("2022-12-29", 0.0)  # at rest
    for unusable in (day, seconds, seconds | {"session": "29.12.2022"}):
        running([feed.tick("AAPL", 141.0, **unusable)])
        assert played() is None
    running([feed.tick("MSFT", 141.0, session="2022-12-30", session_seconds=0.5)])
    assert played() == Replay("2022-12-30", 0.5)
    # A live price after it: what was played is over.
    running([feed.tick("AAPL", 142.0)])
    assert played() is None


def test_dead_letters_and_closings_leave_before_an_epoch_could_commit_without_them(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any
) -> None:
    running([feed.tick("AAPL", 140.0)])
    told, _ = revaluation.on_batch([Poll([feed.record(*_poison()), feed.closed("p-0")], caught_up=True)])
    (window,) = told
    assert [letter.field for letter in window.dead_letters] == ["price"]
    assert [portfolio_id for portfolio_id, _ in window.closed] == ["p-0"]
    assert not any(w.dead_letters or w.closed for w in end(revaluation, clock))


def test_the_end_of_input_flushes_what_was_waiting(revaluation: Revaluation, feed: Any, history: list[Record]) -> None:
    revaluation.on_batch([Poll([feed.portfolio("p-0", {"AAPL": 1.0}), *history], caught_up=True)])
    windows = list(revaluation.on_eof()[0])
    assert [one.portfolio_id for one in snapshots(windows)] == ["p-0"]
    assert windows[-1].heartbeat is not None
    assert windows[-1].heartbeat.state == "draining"


def test_only_the_first_worker_serves_marks(clock: Clock, history: list[Record]) -> None:
    served = []
    for index in range(2):
        revaluation = Revaluation(Settings(), index, 2, None, clock)
        revaluation.on_batch([Poll(history, caught_up=True)])
        served.append([w.marks.keys() for w in end(revaluation, clock) if w.marks])
    assert len(served[0][0]) == 21
    assert served[1] == []


def test_a_restart_from_its_saved_state_says_the_same(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any, history: list[Record]
) -> None:
    (before,) = running([feed.tick("AAPL", 140.0)])
    restarted = Revaluation(Settings(), 0, 1, revaluation.snapshot(), clock)
    closes = [record for record in history if record.topic == "market-closes"]
    restarted.on_batch([Poll(closes, caught_up=True)])
    after = {one.portfolio_id: one for one in snapshots(end(restarted, clock))}["p-0"]
    same = ("sequence", "market_value", "var_95", "es_975", "scenario_set_id", "source_offset")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]


def _poison() -> tuple[Any, bytes, bytes]:
    from plimsoll import topics

    return topics.MARKET_DATA, b"AAPL", b'{"symbol":"AAPL","price":NaN}'


def test_what_is_offered_again_in_a_quiet_market_is_said_to_be_a_repetition(
    running: Any, revaluation: Revaluation, clock: Clock, feed: Any
) -> None:
    def offered() -> dict[str, bool]:
        windows = [w for _ in range(2) for w in end(revaluation, clock, seconds=1.0)]
        return {one.portfolio_id: one.again for w in windows for one in w.publications}

    assert offered() == {"p-0": True, "p-1": True}
    running([feed.tick("AAPL", 77.0)])
    assert offered() == {"p-0": True, "p-1": False}
