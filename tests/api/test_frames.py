"""What a slow reader is told is true of what it knows, however much it missed; and what waits for it is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.follow import AtRiskChange, AtRiskMove, RiskEvent, RiskEventReason
from api.frames import FRESH_NS, Frame, Writer, merged
from api.sockets import outbox as outbox_module
from api.sockets.outbox import Outbox, Sent, TaskWire

if TYPE_CHECKING:
    from tests.api.conftest import Make

pytestmark = pytest.mark.anyio
ENTERED, UPDATED, LEFT = AtRiskMove


def written(event: Any) -> bytes:
    label = event.change if isinstance(event, AtRiskChange) else event.reason
    previous = getattr(event, "previous_sequence", None)
    return f"{event.risk.portfolio_id} {label} {previous} {event.risk.sequence}".encode()


WRITER = Writer(written, lambda: 0)


def a_risk_event(make: Make, reason: RiskEventReason, sequence: int, portfolio_id: str = "p") -> Frame:
    previous = None if reason is RiskEventReason.SNAPSHOT else str(sequence - 1)
    return Frame(RiskEvent(reason, previous, make.snapshot(portfolio_id, sequence=str(sequence))), WRITER)


class Wire:
    """A client that reads, or does not."""

    def __init__(self) -> None:
        self.is_clear = True
        self.heard: list[bytes] = []
        self.woken = 0

    def write(self, head: bytes, tail: bytes) -> None:
        assert self.is_clear
        self.heard.append(head + tail)

    def wake(self) -> None:
        self.woken += 1

    def unread(self) -> int:
        return 0

    def read_so_far(self, unread: int) -> int:
        return len(self.heard) - unread

    def close(self) -> None:
        self.is_clear = False


class Asking:
    prefix = b"> "


def an_outbox(wire: Wire, on_full: Callable[[], None] = lambda: None) -> Outbox:
    made = Outbox(Sent(), on_full)
    made.wire = wire
    return made


def test_a_snapshot_that_was_not_read_stays_the_first_event(make: Make) -> None:
    waiting = a_risk_event(make, RiskEventReason.SNAPSHOT, 1)
    newest = merged(waiting, a_risk_event(make, RiskEventReason.UPDATE, 2))
    assert newest is not None
    newest = merged(newest, a_risk_event(make, RiskEventReason.UPDATE, 3))
    assert newest is not None
    assert newest.payload == b"p SNAPSHOT None 3"


def test_an_interruption_stays_told(make: Make) -> None:
    newest = merged(a_risk_event(make, RiskEventReason.RESYNC, 1), a_risk_event(make, RiskEventReason.UPDATE, 2))
    assert newest is not None
    assert newest.payload == b"p RESYNC 1 2"


def test_an_update_replaces_an_update_as_it_is(make: Make) -> None:
    newer = a_risk_event(make, RiskEventReason.UPDATE, 3)
    assert merged(a_risk_event(make, RiskEventReason.UPDATE, 2), newer) is newer


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), max_size=60))
def test_a_slow_reader_always_knows_who_is_at_risk(make: Make, steps: list[tuple[int, bool, bool]]) -> None:
    """Whatever happens and whenever it reads: LEFT only of whom it knows, ENTERED only of whom it does not."""
    wire = Wire()
    outbox, asking = an_outbox(wire), Asking()
    inside: set[str] = set()
    known: dict[str, str] = {}

    def read() -> None:
        wire.is_clear = True
        while len(outbox):
            head, tail = outbox._take()
            wire.write(head, tail)
        for message in wire.heard:
            portfolio_id, label, _, sequence = message.decode()[2:-1].split()
            assert (portfolio_id in known) is (label != "ENTERED")
            known.pop(portfolio_id) if label == "LEFT" else known.update({portfolio_id: sequence})
        wire.heard.clear()

    sequences: dict[str, str] = {}
    for sequence, (portfolio, is_at_risk, reads) in enumerate(steps):
        portfolio_id = f"p{portfolio}"
        label = (UPDATED if portfolio_id in inside else ENTERED) if is_at_risk else LEFT
        if is_at_risk or portfolio_id in inside:
            risk = make.snapshot(portfolio_id, sequence=str(sequence))
            outbox.tell(asking, Frame(AtRiskChange(label, risk), WRITER))
            sequences[portfolio_id] = str(sequence)
        (inside.add if is_at_risk else inside.discard)(portfolio_id)
        if reads:
            read()
            assert known == {each: sequences[each] for each in inside}
        wire.is_clear = False
    read()
    assert known.keys() == inside


def test_what_a_joiner_is_told_is_written_once_for_all_who_join_at_about_the_same_time(make: Make) -> None:
    now = [1]
    written_events: list[Any] = []

    def write(event: Any) -> bytes:
        written_events.append(event)
        return b"written"

    frame = Frame(RiskEvent(RiskEventReason.UPDATE, "1", make.snapshot(sequence="2")), Writer(write, lambda: now[0]))
    assert frame.as_first().payload == frame.as_first().payload == b"written"
    assert len(written_events) == 1
    assert (written_events[0].reason, written_events[0].previous_sequence) == (RiskEventReason.SNAPSHOT, None)
    # Later it is written anew: it says how old its prices are.
    now[0] += FRESH_NS + 1
    assert frame.as_first().payload == b"written"
    assert len(written_events) == 2


def test_a_client_that_reads_is_sent_everything_at_once(make: Make) -> None:
    wire = Wire()
    outbox = an_outbox(wire)
    for sequence in (1, 2):
        outbox.tell(Asking(), a_risk_event(make, RiskEventReason.UPDATE, sequence))
    outbox.say(b"said")
    assert wire.heard == [b"> p UPDATE 0 1}", b"> p UPDATE 1 2}", b"said"]
    assert (outbox.count, wire.woken, len(outbox)) == (3, 0, 0)


async def test_a_client_that_does_not_read_gets_the_newest_in_the_order_in_which_it_began_to_wait(make: Make) -> None:
    wire = Wire()
    wire.is_clear = False
    outbox, one, two = an_outbox(wire), Asking(), Asking()
    for sequence in range(1, 100):
        for asking in (one, two):
            for portfolio_id in "ab":
                outbox.tell(asking, a_risk_event(make, RiskEventReason.UPDATE, sequence, portfolio_id))
    outbox.say(b"complete")
    assert (len(outbox), wire.woken) == (5, 1)
    outbox.forget(two)
    wire.is_clear = True
    outbox.flush()
    assert wire.heard == [b"> a UPDATE 98 99}", b"> b UPDATE 98 99}", b"complete"]


async def test_much_that_waits_is_sent_a_part_at_a_time(make: Make) -> None:
    wire = Wire()
    wire.is_clear = False
    outbox, asking = an_outbox(wire), Asking()
    for number in range(200):
        outbox.tell(asking, a_risk_event(make, RiskEventReason.UPDATE, 1, f"p{number}"))
    wire.is_clear = True
    outbox.flush()
    assert len(wire.heard) == outbox_module.AT_ONCE
    await make.eventually(lambda: len(wire.heard) == 200)
    assert len(outbox) == 0


@pytest.mark.parametrize("what", ["events", "answers"])
def test_a_client_for_whom_too_much_waits_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(outbox_module, "WAITING_MAX", 10)
    monkeypatch.setattr(outbox_module, "WAITING_SIZE_MAX", 100)
    wire, given_up, asking = Wire(), [False], Asking()
    wire.is_clear = False

    def give_up() -> None:
        given_up[0] = True

    outbox = an_outbox(wire, give_up)
    for number in range(10 if what == "events" else 2):
        assert not given_up[0]
        if what == "events":
            outbox.tell(asking, a_risk_event(make, RiskEventReason.UPDATE, 1, f"p{number}"))
        else:
            outbox.say(b"x" * 50)
    outbox.say(b"one more")
    assert given_up[0]
    assert len(outbox) == 0


async def test_through_plain_asgi_a_message_waits_until_the_one_before_was_taken(make: Make) -> None:
    taken: asyncio.Queue[str] = asyncio.Queue()
    may_take = asyncio.Semaphore(1)

    async def send(message: Any) -> None:
        await may_take.acquire()
        taken.put_nowait(message["text"])

    outbox = Outbox(Sent(), lambda: None)
    outbox.wire = wire = TaskWire(send, outbox)
    outbox.tell(Asking(), a_risk_event(make, RiskEventReason.SNAPSHOT, 1))
    assert await taken.get() == "> p SNAPSHOT None 1}"
    asking = Asking()
    outbox.tell(asking, a_risk_event(make, RiskEventReason.SNAPSHOT, 2, "q"))
    await make.eventually(wire.unread)
    assert wire.read_so_far(wire.unread()) == 1
    for sequence in (3, 4):
        outbox.tell(asking, a_risk_event(make, RiskEventReason.UPDATE, sequence, "r"))
    may_take.release()
    may_take.release()
    assert [await taken.get(), await taken.get()] == ["> q SNAPSHOT None 2}", "> r UPDATE 3 4}"]
    outbox.close()
    outbox.say(b"nothing")
    assert len(outbox) == 0
