"""What is published and when, on a clock that a test moves and a sink that only remembers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.messages import PortfolioUpdate, Position, decode_portfolio_update
from plimsoll.topics import MARKET_CLOSES, MARKET_DATA, PORTFOLIO_UPDATES, Topic
from producer import closes
from producer.market import Replay
from producer.portfolios import Firm, Stated, Universe
from producer.publish import Record
from producer.stream import BEAT_SECONDS, Pace, Stream

pytestmark = pytest.mark.anyio

WALL_AT_ZERO = 1_700_000_000.0


@dataclass
class StoppedClock:
    """Time passes only when somebody sleeps."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL_AT_ZERO + self.now

    async def sleep_until(self, moment: float) -> None:
        self.now = max(self.now, moment)
        await asyncio.sleep(0)


@dataclass
class Remembered:
    """A sink that keeps everything, with the moment it came; `delay_seconds` passes with each call."""

    clock: StoppedClock
    delay_seconds: float = 0.0
    records: list[tuple[float, str, str, dict[str, Any]]] = field(default_factory=list)
    calls: int = 0

    async def publish(self, topic: Topic, records: Sequence[Record]) -> None:
        self.calls += 1
        self.records += [(self.clock.now, topic.name, key.decode(), json.loads(value)) for key, value in records]
        self.clock.now += self.delay_seconds

    async def settle(self) -> None:
        pass

    def of(self, topic: Topic) -> list[dict[str, Any]]:
        return [value for _, name, _, value in self.records if name == topic.name]


@cache
def bundled() -> closes.Closes:
    return closes.load()


def stream(first_session: str = "2020-02-19", count: int = 10, delay_seconds: float = 0.0) -> tuple[Stream, Remembered]:
    clock = StoppedClock()
    sink = Remembered(clock, delay_seconds)
    first = bundled().sessions.index(first_session)
    firm = Firm(count, 3, 7, bundled().of(first - 1))
    return Stream(Replay(bundled(), 7), first, firm, sink, clock), sink


def last_sessions(count: int) -> tuple[Stream, Remembered]:
    """A replay that is over after `count` sessions."""
    return stream(bundled().sessions[-count])


async def test_the_opening_is_the_history_of_closes_and_a_mark_for_every_symbol() -> None:
    opened, sink = stream()
    await opened.open_market(history=501)
    history = sink.of(MARKET_CLOSES)
    assert len(history) == 501
    assert history[-1]["session"] == "2020-02-18"
    assert [close["session"] for close in history] == sorted(close["session"] for close in history)
    assert history[-1]["closes"] == bundled().of(bundled().sessions.index("2020-02-18"))
    assert {close["source"] for close in history} == {"replay"}
    ticks = sink.of(MARKET_DATA)
    assert {tick["symbol"]: tick["price"] for tick in ticks} == history[-1]["closes"]
    assert len(ticks) == 21


async def test_keys_are_what_the_topics_promise() -> None:
    played, sink = last_sessions(1)
    await played.open_market(history=2)
    await played.open_portfolios()
    await played.play(Pace(1.0, 50.0))
    names = {MARKET_CLOSES.name: "session", MARKET_DATA.name: "symbol", PORTFOLIO_UPDATES.name: "id"}
    assert {name for _, name, _, _ in sink.records} == set(names)
    assert all(value[names[name]] == key for _, name, key, value in sink.records)


async def test_a_session_ends_at_its_real_closes_and_the_last_ticks_say_so() -> None:
    played, sink = last_sessions(3)
    await played.play(Pace(20.0, 21.0))
    for session in bundled().sessions[-3:]:
        real = bundled().of(bundled().sessions.index(session))
        ticks = [tick for tick in sink.of(MARKET_DATA) if tick["session"] == session and tick["session_seconds"]]
        assert len(ticks) == 419 + 21
        assert {tick["symbol"]: tick["price"] for tick in ticks} == real
    assert [close["session"] for close in sink.of(MARKET_CLOSES)] == list(bundled().sessions[-3:])


async def test_every_price_says_how_quickly_its_session_is_played_and_those_at_rest_do_not() -> None:
    played, sink = last_sessions(2)
    await played.open_market(history=2)
    opening = len(sink.of(MARKET_DATA))
    await played.play(Pace(20.0, 21.0))
    ticks = sink.of(MARKET_DATA)
    assert {tick["session_seconds"] for tick in ticks[:opening]} == {None}
    assert {tick["session_seconds"] for tick in ticks[opening:-21]} == {20.0}
    at_rest = ticks[-21:]
    assert {(tick["session"], tick["session_seconds"]) for tick in at_rest} == {(bundled().sessions[-1], None)}
    assert {tick["symbol"]: tick["price"] for tick in at_rest} == bundled().of(-1)


async def test_every_symbol_ticks_once_in_each_interval() -> None:
    played, sink = last_sessions(1)
    await played.play(Pace(session_seconds=20.0, ticks_per_second=21.0))
    ticks = sink.of(MARKET_DATA)
    assert set(Counter(tick["symbol"] for tick in ticks[:210]).values()) == {10}


async def test_a_tick_is_stamped_when_it_is_due_and_sent_no_earlier_and_within_a_beat() -> None:
    played, sink = last_sessions(2)
    started = played.clock.monotonic()
    await played.play(Pace(session_seconds=2.0, ticks_per_second=1000.0))
    prices = [(now, value) for now, name, _, value in sink.records if name == MARKET_DATA.name]
    ticks = prices[:-21]  # the others are said when nothing is due any more
    stamps = [value["timestamp"] - WALL_AT_ZERO - started for _, value in ticks]
    assert stamps == sorted(stamps)
    assert stamps[0] == pytest.approx(0.001, abs=1e-6)
    assert stamps[-1] == pytest.approx(4.0, abs=1e-6)
    lateness = [now - started - stamp for (now, _), stamp in zip(ticks, stamps, strict=True)]
    assert min(lateness) > -1e-6
    assert max(lateness) <= BEAT_SECONDS + 1e-4
    assert sink.calls < 4.0 / BEAT_SECONDS + 20


async def test_sessions_keep_to_absolute_moments_however_slow_the_sink() -> None:
    played, sink = last_sessions(3)
    sink.delay_seconds = 0.05
    started = played.clock.monotonic()
    await played.play(Pace(session_seconds=2.0, ticks_per_second=21.0))
    closed_at = [now - started for now, name, _, _ in sink.records if name == MARKET_CLOSES.name]
    assert closed_at == pytest.approx([2.0, 4.0, 6.0], abs=0.16)


async def test_a_backlog_is_sent_whole_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    prompt, prompt_sink = last_sessions(1)
    await prompt.play(Pace(4.0, 500.0))
    late, late_sink = last_sessions(1)
    late_sink.delay_seconds = 0.6
    with caplog.at_level(logging.WARNING):
        await late.play(Pace(4.0, 500.0))
    prices = [[(tick["symbol"], tick["price"]) for tick in sink.of(MARKET_DATA)] for sink in (prompt_sink, late_sink)]
    assert prices[0] == prices[1]
    assert sum("late" in record.message for record in caplog.records) == 1


async def test_the_end_of_the_data_is_said_and_no_price_is_invented_after_it(caplog: pytest.LogCaptureFixture) -> None:
    played, sink = last_sessions(1)
    with caplog.at_level(logging.WARNING):
        await played.play(Pace(1.0, 21.0))
    assert "replay has reached its last session, 2022-12-28" in caplog.text
    assert sink.of(MARKET_DATA)[-1]["session"] == "2022-12-28"
    assert played.marks == bundled().of(len(bundled().sessions) - 1)


async def test_advisors_go_on_after_the_last_session() -> None:
    played, sink = last_sessions(1)
    await played.open_portfolios()
    running = asyncio.create_task(played.run(Pace(1.0, 21.0), portfolio_interval=0.5))
    # The clock moves with every step of the loop, so a number of steps is the deadline.
    for _ in range(10_000):
        await asyncio.sleep(0)
        after = [now for now, name, _, _ in sink.records if name == PORTFOLIO_UPDATES.name and now > 1002.0]
        if len(after) >= 3:
            break
    running.cancel()
    assert len(after) >= 3


async def test_what_the_sink_refuses_ends_the_stream_with_its_reason() -> None:
    class Broken(Remembered):
        async def publish(self, topic: Topic, records: Sequence[Record]) -> None:
            raise ConnectionError("gone")

    played, sink = last_sessions(1)
    played.sink = Broken(sink.clock)
    with pytest.raises(ConnectionError, match="gone"):
        await played.run(Pace(1.0, 21.0), portfolio_interval=100.0)


@pytest.mark.parametrize(("count", "updates"), [(1, 1), (7, 1), (7, 3), (450, 2)])
async def test_a_batch_is_exactly_so_many_messages_of_each_portfolio(count: int, updates: int) -> None:
    made, sink = stream(count=count)
    await made.batch(updates)
    per_portfolio = Counter(update["id"] for update in sink.of(PORTFOLIO_UPDATES))
    assert len(per_portfolio) == count
    assert set(per_portfolio.values()) == {updates}


async def test_one_seed_makes_the_same_batch() -> None:
    batches = []
    for _ in range(2):
        made, sink = stream(count=20)
        await made.batch(3)
        batches.append(sink.records)
    assert batches[0] == batches[1]


@given(seconds=st.floats(0.01, 1e4), rate=st.floats(0.01, 1e5), age=st.floats(0.0, 2e4))
def test_ticks_that_are_due_grow_with_time_up_to_the_close(seconds: float, rate: float, age: float) -> None:
    pace = Pace(seconds, rate)
    assert 0 <= pace.ticks_due(age) <= pace.ticks_due(age * 1.1) <= pace.ticks_before_close()
    assert pace.ticks_before_close() / rate < seconds


def test_a_pace_by_hand() -> None:
    # 2 s at 10 a second: due at 0.1, 0.2, …, 1.9; the twentieth would be at the close, where every symbol ticks.
    assert Pace(2.0, 10.0).ticks_before_close() == 19
    assert Pace(2.0, 10.0).ticks_due(0.55) == 5


# --- somebody's own prices and portfolios -----------------------------------------------------------------------------

DAYS = tuple(f"2026-{month:02d}-{day:02d}" for month in range(1, 4) for day in range(1, 29))
"""84 sessions."""


def own_market() -> closes.Closes:
    """A name without a gap, one with a gap in the last session, and one that is listed in it; none is a benchmark."""
    rng = np.random.default_rng(3)
    price = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (len(DAYS), 3)), axis=0))
    price[-1, 1] = np.nan
    price[:-1, 2] = np.nan
    return closes.Closes(DAYS, ("GAP", "OLD", "NEW"), price[:, [0, 1, 2]], None, {"OLD": "Energy"})


def own_stream(first: int) -> tuple[Stream, Remembered]:
    clock = StoppedClock()
    sink = Remembered(clock)
    updates = [PortfolioUpdate("mine", "advisor-1", [Position("GAP", 5.0), Position("NEW", -2.0)], cash=7.0)]
    return Stream(Replay(own_market(), 7), first, Stated(updates), sink, clock), sink


async def test_what_has_no_close_in_a_session_has_no_price_in_it_either() -> None:
    played, sink = own_stream(len(DAYS) - 1)
    await played.open_market(history=len(DAYS) - 1)
    assert {tick["symbol"] for tick in sink.of(MARKET_DATA)} == {"GAP", "OLD"}
    opening = len(sink.of(MARKET_DATA))
    await played.play(Pace(1.0, 30.0))
    last = sink.of(MARKET_CLOSES)[-1]
    assert last["session"] == DAYS[-1]
    assert last["closes"].keys() == {"GAP", "NEW"}
    assert last["sectors"] == {"OLD": "Energy"}
    ticks = sink.of(MARKET_DATA)[opening:]
    assert {tick["symbol"] for tick in ticks if tick["session"] == DAYS[-1]} == {"GAP", "NEW"}
    first_day = [tick["price"] for tick in ticks if tick["symbol"] == "NEW"]
    assert first_day == pytest.approx([last["closes"]["NEW"]] * len(first_day), abs=1e-4)
    assert {tick["beta"] for tick in ticks} == {None}


async def test_a_price_of_an_older_day_says_so_and_is_not_the_newest() -> None:
    played, sink = own_stream(len(DAYS))
    await played.open_market(history=len(DAYS))
    told = {tick["symbol"]: tick for tick in sink.of(MARKET_DATA)}
    assert {symbol: tick["session"] for symbol, tick in told.items()} == {
        "GAP": DAYS[-1], "NEW": DAYS[-1], "OLD": DAYS[-2],
    }  # fmt: skip
    assert told["OLD"]["timestamp"] < min(told["GAP"]["timestamp"], told["NEW"]["timestamp"])


async def test_stated_portfolios_are_sent_once_and_never_traded() -> None:
    played, sink = own_stream(len(DAYS) - 3)
    await played.open_portfolios()
    running = asyncio.create_task(played.run(Pace(1.0, 30.0), portfolio_interval=0.1))
    for _ in range(5_000):
        await asyncio.sleep(0)
    assert len(sink.of(MARKET_CLOSES)) == 3
    assert not running.done()  # prices that stand still are no end
    running.cancel()
    (update,) = sink.of(PORTFOLIO_UPDATES)
    assert [(each["symbol"], each["quantity"]) for each in update["positions"]] == [("GAP", 5.0), ("NEW", -2.0)]
    assert (update["id"], update["cash"]) == ("mine", 7.0)
    assert update["timestamp"] == pytest.approx(WALL_AT_ZERO + 1000.0)


async def test_an_invented_firm_holds_what_there_is_however_few() -> None:
    market = own_market()
    marks = market.marks(len(DAYS) - 2)
    firm = Firm(30, 3, 7, marks, Universe(marks, {}))
    clock = StoppedClock()
    sink = Remembered(clock)
    await Stream(Replay(market, 7), len(DAYS) - 1, firm, sink, clock).batch(4)
    held = {position["symbol"] for update in sink.of(PORTFOLIO_UPDATES) for position in update["positions"]}
    assert held == {"GAP", "OLD"}
    for _, _, key, update in sink.records:
        decode_portfolio_update(key.encode(), json.dumps(update).encode(), int(2e18))
