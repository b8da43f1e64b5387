"""Batches leave a page with what every event would have left it with, however slow it is and whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batches import BEGIN, ROWS_MAX, Batch, BatchReason, Gathering, merged, parts
from api.fanout import Closed, Gap, Mailbox, Restate, Traffic
from api.follow import Follow
from api.frames import FRESH_NS, Frame, Writer
from api.shared_streams import Waiting
from api.sockets.outbox import Outbox, Sent
from plimsoll.errors import Unavailable
from plimsoll.messages import Moved, RiskSnapshot

if TYPE_CHECKING:
    from tests.api.conftest import Make

pytestmark = pytest.mark.anyio
UPDATE, RESYNC = BatchReason.UPDATE, BatchReason.RESYNC


def written(batch: Any) -> bytes:
    told = {each: risk.sequence for each, risk in batch.risks.items()}
    return json.dumps([batch.reason, told, batch.closed]).encode()


class World:
    """What the engine says, what Redis holds then, and pages that follow both."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self.store: dict[str, int] = {}
        self.sequence = 0

    def publish(self, portfolio_id: str) -> RiskSnapshot:
        self.sequence += 1
        self.store[portfolio_id] = self.sequence
        return self.make.snapshot(portfolio_id, sequence=str(self.sequence))

    def close(self, portfolio_id: str) -> Closed:
        self.store.pop(portfolio_id, None)
        return Closed(portfolio_id)


@dataclass
class Page:
    """A client as the documentation wants it: it reads the list when it is told to, and merges by sequence."""

    world: World
    rows: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def hear(self, payload: bytes) -> None:
        reason, risks, closed = json.loads(payload)
        if reason != UPDATE:
            self.rows = dict(self.world.store)
        assert not set(risks) & set(closed)
        for portfolio_id, sequence in risks.items():
            assert int(sequence) > self.seen.get(portfolio_id, -1)
            self.seen[portfolio_id] = int(sequence)
            self.rows[portfolio_id] = max(int(sequence), self.rows.get(portfolio_id, -1))
        for portfolio_id in closed:
            self.rows.pop(portfolio_id, None)


class Wire:
    """A socket that never takes anything by itself."""

    is_clear = False

    def wake(self) -> None:
        pass


class Asking:
    prefix = b""


class Desk:
    """One stream of batches, and three pages: one that reads all, and two that read when they can."""

    def __init__(self, make: Make) -> None:
        self.world = World(make)
        self.gathering = Gathering(None)
        self.outbox = Outbox(Sent(), lambda: None)
        self.outbox.wire = cast("Any", Wire())
        self.waiting, self.asking = Waiting(), Asking()
        self.quick, self.slow, self.slow_too = (Page(self.world) for _ in range(3))
        self.hand_over(BEGIN)

    def hand_over(self, batch: Batch) -> None:
        self.quick.hear(written(batch))
        frame = Frame(batch, Writer(written, lambda: 0))
        self.outbox.tell(cast("Any", self.asking), frame)
        self.waiting.tell(frame)
        assert len(self.outbox) == len(self.waiting._frames) == 1

    def publish(self, portfolio_id: str) -> None:
        self.gathering.put(self.world.publish(portfolio_id))

    def close(self, portfolio_id: str) -> None:
        self.gathering.put(self.world.close(portfolio_id))

    def miss_a_change(self, portfolio_id: str) -> None:
        self.world.publish(portfolio_id)
        self.gathering.put(Gap())

    def miss_a_closing(self, portfolio_id: str) -> None:
        self.world.close(portfolio_id)
        self.gathering.put(Gap())

    def restate(self, _: str) -> None:
        self.gathering.put(Restate())

    def batch(self, _: str = "") -> None:
        if self.gathering.interrupted:
            self.gathering.resume(self.world.store)
        if self.gathering:
            self.hand_over(self.gathering.take())

    def read(self, _: str = "") -> None:
        if (message := self.outbox.take()) is not None:
            self.slow.hear(message[:-1])
            self.slow_too.hear(self.waiting._frames.popitem()[1].payload)


what_happens = st.sampled_from(
    [
        *[Desk.publish] * 4,
        *[Desk.batch] * 2,
        Desk.read,
        Desk.close,
        Desk.miss_a_change,
        Desk.miss_a_closing,
        Desk.restate,
    ]
)


@given(st.lists(st.tuples(what_happens, st.sampled_from(["p", "q", "r"])), max_size=80))
def test_merged_batches_leave_a_slow_reader_with_what_every_event_would_have(
    make: Make, steps: list[tuple[Callable[[Desk, str], None], str]]
) -> None:
    desk = Desk(make)
    for happens, portfolio_id in steps:
        happens(desk, portfolio_id)
    desk.batch()
    desk.read()
    assert desk.quick.rows == desk.slow.rows == desk.slow_too.rows == desk.world.store


def a_batch(make: Make, reason: BatchReason, closed: tuple[str, ...] = (), **sequences: int) -> Frame:
    risks = {name: make.snapshot(name, sequence=str(sequence)) for name, sequence in sequences.items()}
    return Frame(Batch(reason, risks, closed), Writer(written, lambda: 0))


def both(waiting: Frame, newer: Frame) -> Any:
    found = Waiting()
    found.tell(waiting)
    found.tell(newer)
    (frame,) = found._frames.values()
    return json.loads(frame.payload)


def test_by_hand_a_closed_portfolio_loses_its_row_and_one_opened_again_has_one(make: Make) -> None:
    waiting = a_batch(make, UPDATE, ("gone", "again"), stays=1, closes=2, changes=3)
    newer = a_batch(make, UPDATE, ("closes",), again=4, changes=5)
    assert both(waiting, newer) == ["UPDATE", {"stays": "1", "changes": "5", "again": "4"}, ["gone", "closes"]]


def test_an_interruption_stays_told_and_what_was_before_it_does_not(make: Make) -> None:
    resync = a_batch(make, RESYNC, ("gone",), a=2)
    assert both(a_batch(make, UPDATE, ("older",), b=1), resync) == ["RESYNC", {"a": "2"}, ["gone"]]
    assert both(resync, a_batch(make, UPDATE, b=3)) == ["RESYNC", {"a": "2", "b": "3"}, ["gone"]]


@pytest.mark.parametrize("count", [0, 1, ROWS_MAX, ROWS_MAX + 1, 3 * ROWS_MAX])
@pytest.mark.parametrize("reason", [UPDATE, RESYNC])
def test_a_large_batch_comes_in_parts_that_say_the_same(make: Make, reason: BatchReason, count: int) -> None:
    whole = Batch(reason, {str(each): make.snapshot(str(each)) for each in range(count)}, ("gone",))
    told = parts(whole)
    assert len(told) == max(1, -(-count // ROWS_MAX))
    assert all(len(each.risks) <= ROWS_MAX for each in told)
    assert [each.reason for each in told] == [reason, *[UPDATE] * (len(told) - 1)]
    together = told[0]
    for each in told[1:]:
        together = merged(together, each)
    assert together == whole


def test_a_beginning_that_was_not_read_stays_one_and_empty(make: Make) -> None:
    for reason in (UPDATE, RESYNC):
        assert both(a_batch(make, BatchReason.BEGIN), a_batch(make, reason, ("b",), a=1)) == ["BEGIN", {}, []]


def test_what_slow_readers_are_told_as_one_is_written_once_for_all_who_wait_with_the_same(make: Make) -> None:
    times = [0]

    def counting(batch: Any) -> bytes:
        times[0] += 1
        return written(batch)

    writer = Writer(counting, lambda: 0)
    frames = [Frame(Batch(UPDATE, {"a": make.snapshot("a", sequence=str(each))}), writer) for each in range(5)]
    readers = [Waiting() for _ in range(20)]
    for frame in frames:
        for reader in readers:
            reader.tell(frame)
    payloads = {reader._frames[""].payload for reader in readers}
    assert (len(payloads), times[0]) == (1, 1)


def test_an_unread_beginning_says_of_the_engine_what_is_so_when_it_is_read(make: Make) -> None:
    stale = [False]
    writer = Writer(lambda batch: json.dumps([batch.reason, stale[0]]).encode(), lambda: FRESH_NS)
    joined = Frame(Batch(UPDATE, {"a": make.snapshot("a")}), writer).as_first()
    assert joined.payload == b'["BEGIN", false]'  # for somebody who reads at once
    reader = Waiting()
    reader.tell(joined)
    stale[0] = True
    reader.tell(Frame(Batch(UPDATE), writer))
    assert reader._frames[""].payload == b'["BEGIN", true]'


def test_a_sequence_never_goes_back_and_is_told_once(make: Make) -> None:
    gathering = Gathering(None)
    for sequence, is_told in ((9, True), (9, False), (8, False), (10, True)):
        gathering.put(make.snapshot(sequence=str(sequence)))
        assert bool(gathering) is is_told
        if is_told:
            assert gathering.take().risks["p-1"].sequence == str(sequence)


def test_among_an_advisors_portfolios_one_that_moves_has_left_and_of_others_nothing_is_told(make: Make) -> None:
    gathering = Gathering("ada", ["a-1", "a-2"])
    gathering.put(make.snapshot("a-3", "ada"))
    for foreign in (make.snapshot("b-1", "bob"), Closed("b-2"), Moved("b-3", "cleo")):
        gathering.put(foreign)
    gathering.put(Moved("a-1", "bob"))
    gathering.put(make.snapshot("a-2", "bob", sequence="5"))
    assert gathering.take() == Batch(UPDATE, {"a-3": make.snapshot("a-3", "ada")}, ("a-1", "a-2"))
    gathering.put(Closed("a-1"))
    assert not gathering


def test_after_a_gap_what_is_not_there_any_more_is_forgotten_and_told_anew_if_it_returns(make: Make) -> None:
    gathering = Gathering("ada", ["a-1"])
    for portfolio_id in ("a-1", "a-2"):
        gathering.put(make.snapshot(portfolio_id, "ada", sequence="5"))
    gathering.take()
    gathering.put(make.snapshot("a-9", "ada", sequence="1"))
    gathering.put(Gap())
    gathering.put(make.snapshot("a-3", "ada", sequence="1"))
    gathering.resume(["a-1", "a-4"])
    assert gathering.take() == Batch(RESYNC, {"a-3": make.snapshot("a-3", "ada", sequence="1")})
    assert gathering._told == {"a-1": 5, "a-3": 1, "a-4": -1}
    for portfolio_id in ("a-1", "a-2"):
        gathering.put(make.snapshot(portfolio_id, "ada", sequence="5"))
    gathering.put(Closed("a-4"))
    assert (set(gathering._risks), set(gathering._closed)) == ({"a-2"}, {"a-4"})


class Fan:
    """A fan-out of one mailbox."""

    def __init__(self) -> None:
        self.mailbox = Mailbox("everything", None, Traffic())

    def watch(self, channel: str) -> Fan:
        return self

    async def __aenter__(self) -> Mailbox:
        return self.mailbox

    async def __aexit__(self, *_: object) -> None:
        pass


class Shelf:
    """A store and a listing of these snapshots."""

    def __init__(self, *snapshots: RiskSnapshot) -> None:
        self.snapshots = {each.portfolio_id: each for each in snapshots}

    async def risks(self, ids: list[str]) -> list[RiskSnapshot | None]:
        return [self.snapshots.get(each) for each in ids]

    async def all_portfolios(self, _selection: object) -> list[str]:
        return list(self.snapshots)


@pytest.fixture
async def fan() -> Fan:
    return Fan()


def following(fan: Fan, shelf: Shelf, seconds: float) -> AsyncIterator[Batch]:
    return Follow(cast("Any", fan), cast("Any", shelf), cast("Any", shelf)).batches(None, seconds)


async def test_a_change_after_quiet_is_told_at_once_and_those_after_it_an_interval_later(fan: Fan, make: Make) -> None:
    loop = asyncio.get_running_loop()
    # Long enough that a machine which stalls for a moment is not taken for it.
    interval = 3.0
    batches = following(fan, Shelf(), interval)
    assert await anext(batches) == BEGIN
    fan.mailbox.put("a", make.snapshot("a", sequence="1"))
    began = loop.time()
    assert set((await anext(batches)).risks) == {"a"}
    assert loop.time() - began < interval
    following_one = asyncio.ensure_future(anext(batches))
    for sequence in range(2, 12):
        for portfolio_id in ("a", "b"):
            fan.mailbox.put(portfolio_id, make.snapshot(portfolio_id, sequence=str(sequence)))
        await asyncio.sleep(0)
    batch = await asyncio.wait_for(following_one, 10)
    assert loop.time() - began >= interval
    assert {each: risk.sequence for each, risk in batch.risks.items()} == {"a": "11", "b": "11"}


async def test_a_server_that_stops_ends_a_stream_in_the_middle_of_an_interval(fan: Fan, make: Make) -> None:
    batches = following(fan, Shelf(), 60.0)
    await anext(batches)
    fan.mailbox.put("a", make.snapshot("a"))
    await anext(batches)
    following_one = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    fan.mailbox.put_end()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(following_one, 20)


async def test_after_a_gap_the_list_has_to_be_read_again_and_nothing_is_told_twice(fan: Fan, make: Make) -> None:
    shelf = Shelf(make.snapshot("a"), make.snapshot("b"))
    batches = following(fan, shelf, 0.01)
    await anext(batches)
    fan.mailbox.put_gap()
    assert await anext(batches) == Batch(RESYNC)
    fan.mailbox.put_state(stale=True)
    assert await anext(batches) == Batch(UPDATE)
