"""Clients that stop reading: closed with a code they can still read, while the others hear everything to the last."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from api.sockets.codes import Code
from api.sockets.registry import Limits
from benchmarks.crowd import Plan, Seen, Subscriber, opening

if TYPE_CHECKING:
    from tests.api.conftest import Make, Seed, Served

pytestmark = pytest.mark.anyio
READERS, STALLED = 40, 10
WIDE = "subscription($id: ID!) { portfolioRisk(portfolioId: $id) { risk { incompleteSymbols sequence } } }"
SYMBOLS = ["X" * 50] * 100
LIMITS = Limits(send_seconds=1.0, look_seconds=0.1, linger_seconds=8.0)


async def a_subscriber(served: Served, *, stalls: bool) -> Subscriber:
    plan = Plan(
        url=served.url, pid=0, redis_url="", sockets=1, portfolios=[["p-1"]], events_per_second=0.0,
        saturating_per_second=0.0, seconds=0.0, document=WIDE,
    )  # fmt: skip
    raw = socket.socket()
    raw.setblocking(False)
    if stalls:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    loop, address = asyncio.get_running_loop(), urlsplit(served.url)
    await loop.sock_connect(raw, (address.hostname, address.port))
    _, subscriber = await loop.create_connection(lambda: Subscriber(Seen(), opening(plan, "p-1"), "p-1"), sock=raw)
    await asyncio.wait_for(subscriber.first, 10)
    return subscriber


async def test_stalled_clients_are_closed_and_the_others_hear_the_last(
    served: Served, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = served.app.state.sockets
    monkeypatch.setattr(sockets, "limits", LIMITS)
    await seed.write(make.snapshot(sequence="1"))
    stalled = [await a_subscriber(served, stalls=True) for _ in range(STALLED)]
    readers = [await a_subscriber(served, stalls=False) for _ in range(READERS - STALLED)]
    for each in stalled:
        each.transport.pause_reading()

    sequence = 1

    async def all_stalled_are_closed() -> bool:
        nonlocal sequence
        for _ in range(20):
            sequence += 1
            await seed.publish(make.snapshot(sequence=str(sequence), incomplete_symbols=SYMBOLS))
        return bool(sockets.closed[Code.TOO_SLOW] == STALLED)

    await make.eventually(all_stalled_are_closed, "an end of those who do not read")

    await make.eventually(lambda: all(each.sequence() == sequence for each in readers), "the last sequence everywhere")
    assert len(sockets) == served.app.state.streams.readers == READERS - STALLED
    assert [each.closed_with for each in readers] == [None] * len(readers)
    for each in stalled:
        each.transport.resume_reading()
    # What they read first is old; the code comes after it.
    await make.eventually(lambda: all(each.closed_with == Code.TOO_SLOW for each in stalled), "a code for each")
    assert all(each.sequence() < sequence for each in stalled)
    for each in readers:
        each.transport.close()


async def test_a_slow_client_that_reads_at_all_is_not_closed_and_gets_the_newest(
    served: Served, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = served.app.state.sockets
    monkeypatch.setattr(sockets, "limits", Limits(send_seconds=0.5, look_seconds=0.05))
    now = time.monotonic()
    monkeypatch.setattr(sockets, "monotonic", lambda: now)
    await seed.write(make.snapshot(sequence="1"))
    slow = await a_subscriber(served, stalls=True)
    sequence = 1
    for _ in range(5):
        now += 0.4
        slow.transport.pause_reading()
        for _ in range(100):
            sequence += 1
            await seed.publish(make.snapshot(sequence=str(sequence), incomplete_symbols=SYMBOLS))
        before = slow.seen.messages
        slow.transport.resume_reading()
        await make.eventually(lambda before=before: slow.seen.messages > before)
        await asyncio.sleep(0.2)  # A look that sees it read.
    await make.eventually(lambda: slow.sequence() == sequence)
    assert sockets.sent.conflated > 0
    assert slow.seen.messages < sequence
    assert slow.closed_with is None
    slow.transport.close()


# --- streams over plain HTTP ------------------------------------------------------------------------------------------

FOLLOW = json.dumps({"query": WIDE, "variables": {"id": "p-1"}})
ASKED = {
    "graphql": (
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\ncontent-type: application/json\r\n"
        f"content-length: {len(FOLLOW)}\r\n\r\n{FOLLOW}"
    ),
    "rest": "GET /stream/risk-updates?portfolio_id=p-1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
}


@asynccontextmanager
async def reading_nothing(served: Served, asked: str) -> AsyncIterator[None]:
    """A client that asks for a stream, takes its first bytes, and then nothing."""
    loop, address = asyncio.get_running_loop(), urlsplit(served.url)
    with socket.socket() as raw:
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await loop.sock_connect(raw, (address.hostname, address.port))
        await loop.sock_sendall(raw, asked.encode())
        assert (await loop.sock_recv(raw, 15)).startswith(b"HTTP/1.1 200 OK")
        yield


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_who_asks_for_a_stream_and_does_not_read_it_is_cut_off(
    served: Served, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr("api.event_streams.SEND_SECONDS", 0.3)
    await seed.write(make.snapshot(sequence="1"))
    fanout, sequence = served.app.state.backend.fanout, 1

    async def is_cut_off() -> bool:
        nonlocal sequence
        for _ in range(50):
            sequence += 1
            await seed.publish(make.snapshot(sequence=str(sequence), incomplete_symbols=SYMBOLS))
        return bool(fanout.readers == 0)

    async with reading_nothing(served, asked):
        await make.eventually(lambda: fanout.readers == 1)
        await make.eventually(is_cut_off, "an end of the stream")
        await make.eventually(lambda: not served.connections, "a connection that is given up")


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_what_is_left_unread_keeps_no_connection_of_someone_who_may_read_no_more(
    served: Served, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr("api.event_streams.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("api.event_streams.SEND_SECONDS", 1.0)
    backend, admitted = served.app.state.backend, True

    async def still(_caller: object) -> bool:
        return admitted

    monkeypatch.setattr(backend.admission, "still", still, raising=False)
    await seed.write(make.snapshot(sequence="1"))
    async with reading_nothing(served, asked):
        await make.eventually(lambda: backend.fanout.readers == 1)
        sequence = 1

        async def is_unread() -> bool:
            """More than the systems between us keep, and less than would make the sender wait."""
            nonlocal sequence
            for _ in range(5):
                sequence += 1
                await seed.publish(make.snapshot(sequence=str(sequence), incomplete_symbols=SYMBOLS))
            return any(each.transport.get_write_buffer_size() for each in served.connections)

        await make.eventually(is_unread, "bytes that nobody takes")
        admitted = False
        await make.eventually(lambda: backend.fanout.readers == 0, "an end of the stream")
        await make.eventually(lambda: not served.connections, "a connection that is given up")
