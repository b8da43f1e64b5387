"""The same subscription is carried out once; whoever joins, leaves, is slow or comes late hears what is true for it."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import pytest

from api import event_projection
from api.backend import Backend, assemble
from api.documents import RefusedDocument, prepare
from api.engine_state import EngineState
from api.event_projection import _Unfit
from api.frames import Frame
from api.identity import ANYONE, Caller, Role
from api.schema.operation import Session
from api.shared_streams import Errors, SharedStreams
from api.staleness import watch
from plimsoll import keys
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Make, Seed

pytestmark = pytest.mark.anyio

PORTFOLIO = """subscription($id: ID!) { portfolioRisk(portfolioId: $id) {
  reason previousSequence risk { portfolioId sequence riskNumber stale } } }"""
ADVISOR = (
    "subscription($id: ID!) { advisorRisk(advisorId: $id) { reason previousSequence risk { portfolioId sequence } } }"
)
BATCHES = """subscription($advisor: ID) { riskBatches(advisorId: $advisor, intervalMs: 100) {
  reason closed stale risks { portfolioId sequence stale } } }"""
AT_RISK = "subscription { atRisk { change risk { portfolioId riskNumber stale } } }"


class Reading:
    """A reader that notes everything."""

    def __init__(self) -> None:
        self.payloads: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: asyncio.Future[Errors | None] = asyncio.get_running_loop().create_future()

    def tell(self, frame: Frame) -> None:
        self.payloads.put_nowait(frame.payload)

    def end(self, errors: Errors | None) -> None:
        self.ended.set_result(errors)

    async def next(self) -> dict[str, Any]:
        payload = json.loads(await asyncio.wait_for(self.payloads.get(), 10))
        (event,) = payload["data"].values()
        return cast("dict[str, Any]", event)

    async def told(self) -> tuple[str, str, str | None, str]:
        event = await self.next()
        risk = event["risk"]
        return event["reason"], risk["portfolioId"], event["previousSequence"], risk["sequence"]

    async def batch(self) -> tuple[str, dict[str, str], list[str]]:
        event = await self.next()
        return event["reason"], {each["portfolioId"]: each["sequence"] for each in event["risks"]}, event["closed"]

    async def changed(self) -> tuple[str, str]:
        event = await self.next()
        return event["change"], event["risk"]["portfolioId"]


class Streams(SharedStreams):
    """With a shorter way to join."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend

    def read(self, text: str, caller: Caller = ANYONE, **variables: Any) -> Reading:
        reading = Reading()
        self.join(Session(self.backend, caller), prepare(text), variables, None, reading)
        return reading


@pytest.fixture
async def backend(redis_url: str) -> AsyncIterator[Backend]:
    backend = assemble(Settings(redis_url=redis_url, kafka_brokers="127.0.0.1:1"), time.time_ns)
    task = asyncio.create_task(backend.fanout.run())
    yield backend
    task.cancel()
    await asyncio.wait({task})
    backend.analysis.close()
    await backend.redis.aclose()


@pytest.fixture
async def streams(backend: Backend) -> AsyncIterator[Streams]:
    streams = Streams(backend)
    yield streams
    await streams.aclose()


async def test_what_is_asked_for_alike_is_carried_out_once(
    streams: Streams, backend: Backend, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot(sequence="1"))
    readings = [streams.read(PORTFOLIO, id="p-1") for _ in range(3)]
    for reading in readings:
        assert await reading.told() == ("SNAPSHOT", "p-1", None, "1")
    assert (len(streams), streams.readers, backend.fanout.readers) == (1, 3, 1)
    await seed.publish(make.snapshot(sequence="2"))
    payloads = [await asyncio.wait_for(reading.payloads.get(), 10) for reading in readings]
    assert len(set(payloads)) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda streams: streams.read(PORTFOLIO, id="p-2"),
        lambda streams: streams.read(PORTFOLIO + " ", id="p-1"),
        lambda streams: streams.read(PORTFOLIO, Caller("a", frozenset((Role.ADVISOR,)), "advisor-1"), id="p-1"),
    ],
    ids=["variables", "document", "view"],
)
async def test_what_differs_in_any_way_is_not_shared(streams: Streams, seed: Seed, make: Make, other: Any) -> None:
    for portfolio_id in ("p-1", "p-2"):
        await seed.write(make.snapshot(portfolio_id))
    one = streams.read(PORTFOLIO, id="p-1")
    another = other(streams)
    await one.next()
    await another.next()
    assert len(streams) == 2


async def test_callers_of_one_view_share_and_nothing_of_the_first_is_in_it(
    streams: Streams, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Session] = []
    read = event_projection.read

    def noting(*arguments: Any) -> Any:
        seen.append(arguments[-1])
        return read(*arguments)

    monkeypatch.setattr(event_projection, "read", noting)
    await seed.write(make.snapshot())
    for subject in ("ann", "bob"):
        caller = Caller(subject, frozenset((Role.RISK_MANAGER,)), expires_at=1.0)
        await streams.read(PORTFOLIO, caller, id="p-1").next()
    assert len(streams) == 1
    (session,) = seen
    assert (session.caller.subject, session.caller.expires_at) == ("a shared stream", None)


async def test_the_order_of_variables_does_not_matter(streams: Streams, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    text = """subscription($id: ID!, $more: Boolean!) { portfolioRisk(portfolioId: $id) {
      reason risk { beta @skip(if: $more) } } }"""
    await streams.read(text, id="p-1", more=False).next()
    await streams.read(text, more=False, id="p-1").next()
    assert len(streams) == 1


async def test_one_who_joins_is_told_the_present_first_and_then_only_what_is_newer(
    streams: Streams, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot(sequence="1"))
    first = streams.read(PORTFOLIO, id="p-1")
    await first.next()
    for sequence in ("2", "3"):
        await seed.publish(make.snapshot(sequence=sequence))
        await first.next()

    late = streams.read(PORTFOLIO, id="p-1")
    assert await late.told() == ("SNAPSHOT", "p-1", None, "3")
    await seed.publish(make.snapshot(sequence="4"))
    assert await late.told() == await first.told() == ("UPDATE", "p-1", "3", "4")


async def test_one_who_joins_a_list_is_told_all_of_it(streams: Streams, seed: Seed, make: Make) -> None:
    for name in ("one", "two", "three"):
        await seed.write(make.snapshot(name, sequence="1"))
    first = streams.read(ADVISOR, id="advisor-1")
    for _ in range(3):
        await first.next()
    await seed.publish(make.snapshot("two", sequence="2"))
    await seed.close("three", "advisor-1")
    for _ in range(2):
        await first.next()

    late = streams.read(ADVISOR, id="advisor-1")
    assert {await late.told(), await late.told()} == {("SNAPSHOT", "one", None, "1"), ("SNAPSHOT", "two", None, "2")}
    await seed.publish(make.snapshot("new", sequence="9"))
    assert await late.told() == ("UPDATE", "new", None, "9")


async def test_one_who_joins_hears_who_is_at_risk_as_entering(streams: Streams, seed: Seed, make: Make) -> None:
    for name, number in (("high", 90), ("higher", 95)):
        await seed.write(make.snapshot(name, risk_number=number))
    first = streams.read(AT_RISK)
    assert [await first.changed(), await first.changed()] == [("ENTERED", "higher"), ("ENTERED", "high")]
    await seed.publish(make.snapshot("higher", risk_number=10, sequence="2"))
    await seed.publish(make.snapshot("high", risk_number=69, sequence="2"))
    assert [await first.changed(), await first.changed()] == [("LEFT", "higher"), ("UPDATED", "high")]

    late = streams.read(AT_RISK)
    assert await late.changed() == ("ENTERED", "high")
    await seed.publish(make.snapshot("high", risk_number=5, sequence="3"))
    assert await late.changed() == ("LEFT", "high")


async def test_batches_begin_empty_for_everyone_and_are_shared_from_then_on(
    streams: Streams, seed: Seed, make: Make
) -> None:
    for name in ("one", "two"):
        await seed.write(make.snapshot(name, sequence="1"))
    first = streams.read(BATCHES)
    assert await first.batch() == ("BEGIN", {}, [])
    await seed.publish(make.snapshot("one", sequence="2"))
    await seed.publish(make.snapshot("new", sequence="5"))
    heard: dict[str, str] = {}
    while heard != {"one": "2", "new": "5"}:  # in one batch or two: the first is told at once
        reason, risks, closed = await first.batch()
        assert (reason, closed, heard.keys() & risks.keys()) == ("UPDATE", [], set())
        heard |= risks

    late = streams.read(BATCHES)
    # In the very step in which it joined.
    assert json.loads(late.payloads.get_nowait())["data"]["riskBatches"]["reason"] == "BEGIN"
    await seed.close("two", "advisor-1")
    payloads = {await asyncio.wait_for(each.payloads.get(), 10) for each in (first, late)}
    assert len(payloads) == 1
    assert json.loads(payloads.pop())["data"]["riskBatches"]["closed"] == ["two"]
    assert len(streams) == 1


async def test_after_an_outage_readers_of_batches_are_told_to_read_the_list_again(
    streams: Streams, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot(sequence="5"))
    reading = streams.read(BATCHES, advisor="advisor-1")
    assert await reading.batch() == ("BEGIN", {}, [])
    await seed.write(make.snapshot(sequence="6"))  # and nobody is told
    await seed.redis.client_kill_filter(_type="pubsub")
    assert await reading.batch() == ("RESYNC", {}, [])
    await seed.publish(make.snapshot(sequence="7"))
    assert await reading.batch() == ("UPDATE", {"p-1": "7"}, [])


async def test_an_unknown_advisor_has_no_batches(streams: Streams) -> None:
    errors = await asyncio.wait_for(streams.read(BATCHES, advisor="nobody").ended, 10)
    assert errors
    assert errors[0]["extensions"]["code"] == "NOT_FOUND"


async def test_an_http_answer_gets_what_came_while_it_was_busy_as_one_batch(
    streams: Streams, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfit(*_: Any) -> None:
        raise _Unfit

    for text in (BATCHES, BATCHES.replace("reason", "said: reason reason")):
        payloads = streams.payloads(Session(streams.backend, ANYONE), prepare(text), {}, None)
        assert b'"BEGIN"' in await anext(payloads)
        beside = streams.read(text)
        await beside.batch()
        for sequence in ("2", "3", "4"):
            await seed.publish(make.snapshot(sequence=sequence))
            await seed.publish(make.snapshot("q" + sequence, sequence="1"))
            while "q" + sequence not in (await beside.batch())[1]:
                pass
        await seed.close("q3", "advisor-1")
        assert await beside.batch() == ("UPDATE", {}, ["q3"])
        event = json.loads(await anext(payloads))["data"]["riskBatches"]
        assert {each["portfolioId"]: each["sequence"] for each in event["risks"]} == {"p-1": "4", "q2": "1", "q4": "1"}
        assert event["closed"] == ["q3"]
        await payloads.aclose()
        streams.leave(beside)
        # The same again, for graphql-core to write.
        monkeypatch.setattr(event_projection, "_read_selection", unfit)
    event_projection._readers.pop((text, None))


async def test_many_readers_and_who_joins_while_they_are_told_hear_each_event_once(
    streams: Streams, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.shared_streams.READERS_AT_ONCE", 2)
    await seed.write(make.snapshot(sequence="1"))
    readings = [streams.read(PORTFOLIO, id="p-1") for _ in range(7)]
    for reading in readings:
        await reading.next()
    await seed.publish(make.snapshot(sequence="2"))
    # The first of them have heard, the last have not, and one joins.
    await readings[0].told()
    late = streams.read(PORTFOLIO, id="p-1")
    assert await late.told() == ("SNAPSHOT", "p-1", None, "2")
    for reading in readings[1:]:
        assert await reading.told() == ("UPDATE", "p-1", "1", "2")
    await seed.publish(make.snapshot(sequence="3"))
    for reading in (*readings, late):
        assert await reading.told() == ("UPDATE", "p-1", "2", "3")


async def test_a_stream_ends_with_its_last_reader(streams: Streams, backend: Backend, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    one, two = streams.read(PORTFOLIO, id="p-1"), streams.read(PORTFOLIO, id="p-1")
    await one.next()
    streams.leave(one)
    streams.leave(one)
    assert (len(streams), streams.readers) == (1, 1)
    streams.leave(two)
    assert (len(streams), streams.readers) == (0, 0)
    await make.eventually(lambda: backend.fanout.readers == 0)
    assert not one.ended.done()


async def test_all_readers_hear_that_a_portfolio_is_closed_and_one_who_comes_later_that_it_is_not_known(
    streams: Streams, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot(sequence="3"))
    readings = [streams.read(PORTFOLIO, id="p-1") for _ in range(2)]
    for reading in readings:
        await reading.next()
    await seed.close("p-1", "advisor-1")
    for reading in readings:
        assert await reading.told() == ("CLOSED", "p-1", "3", "3")
        assert await asyncio.wait_for(reading.ended, 10) is None
    assert (len(streams), streams.readers) == (0, 0)

    errors = await asyncio.wait_for(streams.read(PORTFOLIO, id="p-1").ended, 10)
    assert errors
    assert errors[0]["extensions"]["code"] == "NOT_FOUND"
    assert errors[0]["path"] == ["portfolioRisk"]


async def test_after_an_outage_all_readers_hear_of_it(streams: Streams, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot(sequence="5"))
    readings = [streams.read(PORTFOLIO, id="p-1") for _ in range(2)]
    for reading in readings:
        await reading.next()
    await seed.write(make.snapshot(sequence="6"))  # and nobody is told
    await seed.redis.client_kill_filter(_type="pubsub")
    for reading in readings:
        assert await reading.told() == ("RESYNC", "p-1", "5", "6")
    assert await streams.read(PORTFOLIO, id="p-1").told() == ("SNAPSHOT", "p-1", None, "6")


async def test_what_graphql_core_has_to_write_is_shared_too(
    streams: Streams, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfit(*_: Any) -> None:
        raise _Unfit

    monkeypatch.setattr(event_projection, "_read_selection", unfit)
    for name in ("high", "higher"):
        await seed.write(make.snapshot(name, risk_number=90))
    text = AT_RISK.replace("change", "said: change change")
    first = streams.read(text)
    assert {await first.changed(), await first.changed()} == {("ENTERED", "high"), ("ENTERED", "higher")}
    await seed.publish(make.snapshot("high", risk_number=91, sequence="2"))
    assert await first.changed() == ("UPDATED", "high")
    late = streams.read(text)
    assert {await late.changed(), await late.changed()} == {("ENTERED", "high"), ("ENTERED", "higher")}
    assert event_projection._readers.pop((text, None)) is None


async def test_readers_are_told_that_the_engine_fell_silent_and_that_it_came_back(
    streams: Streams, backend: Backend, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.engine_state.READ_EVERY_NS", 0)
    await seed.heartbeat()
    await seed.write(make.snapshot(risk_number=90, sequence="5"))
    one, at_risk, batches = streams.read(PORTFOLIO, id="p-1"), streams.read(AT_RISK), streams.read(BATCHES)
    assert (await batches.next())["stale"] is False
    assert (await one.next())["risk"]["stale"] is False
    assert (await at_risk.next())["risk"]["stale"] is False

    watching = asyncio.create_task(watch(backend.engine, backend.fanout, seconds=0.01))
    await seed.heartbeat(beat_at_ns=1)
    silent = await one.next()
    assert (silent["reason"], silent["previousSequence"], silent["risk"]["sequence"]) == ("RESYNC", "5", "5")
    assert silent["risk"]["stale"] is True
    change = await at_risk.next()
    assert (change["change"], change["risk"]["stale"]) == ("UPDATED", True)
    batch = await batches.next()
    assert (batch["reason"], batch["risks"], batch["closed"], batch["stale"]) == ("UPDATE", [], [], True)
    # One who joins now is told at once.
    assert (await streams.read(BATCHES).next())["stale"] is True
    assert (await streams.read(PORTFOLIO, id="p-1").next())["risk"]["stale"] is True

    await seed.heartbeat()
    assert (await one.next())["risk"]["stale"] is False
    assert (await batches.next())["stale"] is False
    await seed.publish(make.snapshot(risk_number=90, sequence="6"))
    after = await one.next()
    assert (after["reason"], after["previousSequence"], after["risk"]["stale"]) == ("UPDATE", "5", False)
    watching.cancel()


async def test_the_quick_look_at_the_engine_agrees_with_the_patient_one(backend: Backend, seed: Seed) -> None:
    engine: EngineState = backend.engine
    assert engine.stale_now() is await engine.is_stale() is True
    await seed.heartbeat()
    assert engine.stale_now() is True  # nobody has looked yet
    assert await engine.is_stale() is engine.stale_now() is False


async def test_an_http_answer_waits_for_payloads_and_gets_the_newest(streams: Streams, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot(sequence="1"))
    session = Session(streams.backend, ANYONE)
    payloads = streams.payloads(session, prepare(PORTFOLIO), {"id": "p-1"}, None)
    assert b'"SNAPSHOT"' in await anext(payloads)
    beside = streams.read(PORTFOLIO, id="p-1")
    await beside.next()
    for sequence in ("2", "3", "4"):
        await seed.publish(make.snapshot(sequence=sequence))
        await beside.next()
    # Three came while it was busy with the first.
    event = json.loads(await anext(payloads))["data"]["portfolioRisk"]
    assert (event["reason"], event["previousSequence"], event["risk"]["sequence"]) == ("UPDATE", "3", "4")
    await seed.close("p-1", "advisor-1")
    assert [b'"CLOSED"' in each async for each in payloads] == [True]
    assert streams.readers == 0


async def test_an_http_answer_that_cannot_begin_is_refused_and_one_that_breaks_off_says_why(
    streams: Streams, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(streams.backend, ANYONE)
    with pytest.raises(RefusedDocument, match="p-9"):
        await anext(streams.payloads(session, prepare(PORTFOLIO), {"id": "p-9"}, None))

    await seed.write(make.snapshot())
    payloads = streams.payloads(session, prepare(PORTFOLIO), {"id": "p-1"}, None)
    await anext(payloads)

    def broken(*_: object) -> bool:
        raise RuntimeError("secret")

    monkeypatch.setattr("api.follow.is_newer", broken)
    await seed.publish(make.snapshot(sequence="2"))
    last = json.loads(await asyncio.wait_for(anext(payloads), 10))
    assert last["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert "secret" not in json.dumps(last)
    assert [each async for each in payloads] == []


async def test_an_http_answer_of_a_server_that_stops_just_ends(
    streams: Streams, backend: Backend, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot())
    payloads = streams.payloads(Session(backend, ANYONE), prepare(PORTFOLIO), {"id": "p-1"}, None)
    await anext(payloads)
    backend.fanout.end()
    assert [each async for each in payloads] == []


@pytest.mark.parametrize("short_way", [True, False])
async def test_thousands_of_events_leave_no_memory_behind(
    streams: Streams, backend: Backend, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch, short_way: bool
) -> None:
    def unfit(*_: Any) -> None:
        raise _Unfit

    if not short_way:
        monkeypatch.setattr(event_projection, "_read_selection", unfit)
    await seed.write(make.snapshot(sequence="0"))
    reading = streams.read(PORTFOLIO + " # memory" * (1 + short_way), id="p-1")
    await reading.next()
    channel = backend.fanout._channels[keys.risk_channel("advisor-1")]

    async def events(first: int, count: int) -> None:
        for sequence in range(first, first + count):
            for mailbox in channel.readers():
                mailbox.put("p-1", make.snapshot(sequence=str(sequence)))
            await asyncio.wait_for(reading.payloads.get(), 10)

    await events(1, 300)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await events(1_000, 3_000)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # graphql-core's leak would be 18 MB.
    assert after - before < 200_000
