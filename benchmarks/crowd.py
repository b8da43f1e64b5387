"""A thousand subscribers and whoever publishes, in one process: `python -m benchmarks.crowd` with a `Plan` as JSON.

The client must not be the limit, so a subscriber is a bare socket that reads the lengths of frames, and of a frame no
more than it needs: the sequence of the last, and the time at which it was published. Snapshots carry that time as their
`calculation_time_ms`, in milliseconds since 1970. Both servers and clients run on one machine, so one clock is enough.

It prints what it saw as one line of JSON. Every count is checked: a subscriber whose last sequence is not the last one
published fails the run.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvloop
from msgspec.structs import replace
from redis.asyncio import Redis

from benchmarks.measuring import Stuck, cpu_seconds, resident_bytes
from plimsoll import keys, processes
from plimsoll.messages import RiskBatch, RiskSnapshot, decode, encode

FIELDS = (
    "portfolioId advisorId sequence asOf calculatedAt marketValue grossExposure netExposure cash var95 var99 es975 "
    "var95Fraction var99Fraction es975Fraction volatility expectedReturn sharpeRatio beta maxDrawdown effectiveNames "
    "riskNumber riskBand dayPnl stale calculationTimeMs"
)
DOCUMENT = (
    f"subscription($id: ID!) {{ portfolioRisk(portfolioId: $id) {{ reason previousSequence risk {{ {FIELDS} }} }} }}"
)
WAIT_SECONDS = 60.0
RAMP_SECONDS = 1.0
"""At either end of a saturated run, which is not measured."""
FILL_SECONDS = 4.0
"""Until the buffers of a client that does not read are full, at the rate of the plan."""
_PUBLISHED = b'"calculationTimeMs":'
_SEQUENCE = re.compile(rb'"sequence":"(\d+)"')
_PING, _CLOSE, _TEXT = 0x89, 0x88, 0x81
_PONG = json.dumps({"type": "pong"}).encode()


class Plan(msgspec.Struct):
    """What to do, in this order: connect, measure latency, saturate, see that the last sequence arrived."""

    url: str
    pid: int
    """Of the server, whose CPU and memory are read."""
    redis_url: str
    sockets: int
    """None: only publish, at the saturating rate."""
    portfolios: list[list[str]]
    """Of each advisor; what one message carries is one advisor's. Sockets are dealt over all of them."""
    events_per_second: float
    """Messages that are published, while latency is measured."""
    saturating_per_second: float
    """The same, while what can be delivered is measured."""
    seconds: float
    speaks_graphql: bool = True
    """Otherwise a plain websocket that sends payloads."""
    stalled: int = 0
    """Sockets that stop reading after their first event, while latency is measured a second time."""
    stalled_seconds: float = 14.0
    memory_minutes: float = 0.0
    """How long memory is watched under the steady load."""
    document: str = DOCUMENT


@dataclass(slots=True)
class Seen:
    """What all subscribers saw, together."""

    messages: int = 0
    latencies: list[float] | None = None
    """Milliseconds; None while nobody wants to know."""


class Subscriber(asyncio.Protocol):
    """One socket."""

    __slots__ = ("_opening", "_rest", "closed_with", "first", "last", "measured", "portfolio_id", "seen", "transport")

    def __init__(self, seen: Seen, opening: list[bytes], portfolio_id: str) -> None:
        self.seen = seen
        self.portfolio_id = portfolio_id
        self.last = b""
        self.first = asyncio.get_running_loop().create_future()
        self.closed_with: int | None = None
        self.measured = True
        self._opening = opening
        self._rest = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's own signature is wider than ours
        """Ask for the upgrade."""
        self.transport = transport
        transport.write(self._opening[0])

    def connection_lost(self, exc: Exception | None) -> None:
        """The server is gone."""
        if self.closed_with is None:
            self.closed_with = 1006
        if not self.first.done():
            self.first.set_exception(ConnectionError(f"closed with {self.closed_with} before the first event"))

    def sequence(self) -> int:
        """Of the last event."""
        found = _SEQUENCE.search(self.last)
        return int(found[1]) if found else 0

    def data_received(self, data: bytes) -> None:
        """Read the lengths of frames, and count them."""
        if self._rest:
            data = self._rest + data
        at = 0
        if self._opening:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(data[:200].decode("latin-1"))
            self.transport.writelines(self._opening[1:])
            self._opening = []
            at = end + 4
        size = len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                length, start = (data[at + 2] << 8) + data[at + 3] if size - at >= 4 else size, at + 4
            elif length == 127:
                length, start = int.from_bytes(data[at + 2 : at + 10], "big") if size - at >= 10 else size, at + 10
            end = start + length
            if end > size:
                break
            self._frame(data[at], data, start, end)
            at = end
        self._rest = data[at:]

    def _frame(self, kind: int, data: bytes, start: int, end: int) -> None:
        if kind == _TEXT and end - start > 100:
            self.last = data[start:end]
            seen = self.seen
            seen.messages += 1
            if seen.latencies is not None and self.measured:
                at = self.last.find(_PUBLISHED) + len(_PUBLISHED)
                published = float(self.last[at : at + 18].split(b"}")[0].split(b",")[0])
                seen.latencies.append(time.time() * 1e3 - published)
            if not self.first.done():
                self.first.set_result(None)
        elif kind == _CLOSE:
            self.closed_with = int.from_bytes(data[start : start + 2], "big")
        elif kind == _PING:
            self.transport.write(masked(data[start:end], 0x8A))
        elif b'"ping"' in data[start:end]:
            self.transport.write(masked(_PONG))


def masked(payload: bytes, kind: int = _TEXT) -> bytes:
    """A client's frame. Its mask is zero, which leaves the payload as it is."""
    size = len(payload)
    head = struct.pack("!BB", kind, 0x80 | size) if size < 126 else struct.pack("!BBH", kind, 0xFE, size)
    return head + bytes(4) + payload


def opening(plan: Plan, portfolio_id: str) -> list[bytes]:
    """What a subscriber says first."""
    host = urlsplit(plan.url).netloc
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET /graphql HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )
    if not plan.speaks_graphql:
        return [request.encode(), masked(portfolio_id.encode())]
    subscribe = {"id": "1", "type": "subscribe", "payload": {"query": plan.document, "variables": {"id": portfolio_id}}}
    return [request.encode(), masked(b'{"type":"connection_init"}'), masked(json.dumps(subscribe).encode())]


class Publisher:
    """Publishes a batch of an advisor's portfolios, in turn, at a rate."""

    def __init__(self, redis: Redis, portfolios: list[list[str]]) -> None:
        self._redis = redis
        self._portfolios = portfolios
        self._snapshots: list[list[RiskSnapshot]] = []
        self.sequences: dict[str, int] = {}
        self.count = 0

    async def read(self) -> None:
        """Take what is in the store as the snapshots to go on from."""
        self._snapshots.clear()
        for ids in self._portfolios:
            stored = await self._redis.mget([keys.risk(each) for each in ids])
            self._snapshots.append([decode(raw or b"", RiskSnapshot) for raw in stored])
            self.sequences.update((each.portfolio_id, int(each.sequence)) for each in self._snapshots[-1])

    async def publish(self, per_second: float, seconds: float) -> float:
        """Publish so many messages a second for so long. Returns how far it was ever behind, in seconds."""
        began = time.perf_counter()
        sent, behind = 0, 0.0
        while (elapsed := time.perf_counter() - began) < seconds:
            due = int(elapsed * per_second) + 1
            behind = max(behind, elapsed - sent / per_second)
            if due > sent:
                await self._send(min(due - sent, 50))
                sent += min(due - sent, 50)
            await asyncio.sleep(max(0.0, min(0.05, sent / per_second - (time.perf_counter() - began))))
        return behind

    async def finish(self) -> None:
        """Publish each advisor's portfolios once more, and keep them in the store, as the engine does each time."""
        for _ in self._portfolios:
            await self._send(1, keep=True)

    async def _send(self, count: int, *, keep: bool = False) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for _ in range(count):
            number = self.count % len(self._snapshots)
            self.count += 1
            now_ms = time.time() * 1e3
            batch = [
                replace(each, sequence=str(int(each.sequence) + 1), calculation_time_ms=now_ms)
                for each in self._snapshots[number]
            ]
            self._snapshots[number] = batch
            for each in batch:
                self.sequences[each.portfolio_id] = int(each.sequence)
            if keep:
                pipeline.mset({keys.risk(each.portfolio_id): encode(each) for each in batch})
            pipeline.publish(keys.risk_channel(batch[0].advisor_id), encode(RiskBatch(batch)))
        await pipeline.execute()


@dataclass(slots=True)
class Crowd:
    """All subscribers of a plan."""

    plan: Plan
    publisher: Publisher
    seen: Seen = field(default_factory=Seen)
    subscribers: list[Subscriber] = field(default_factory=list)

    async def connect(self) -> float:
        """Open all sockets, a few at a time, until each has its first event. Bytes of memory for each socket."""
        before = resident_bytes(self.plan.pid)
        url = urlsplit(self.plan.url)
        ids = [each for of_advisor in self.plan.portfolios for each in of_advisor]
        for start in range(0, self.plan.sockets, 50):
            wave = [
                await self._one(url.hostname or "", url.port or 0, ids[number % len(ids)])
                for number in range(start, min(start + 50, self.plan.sockets))
            ]
            await asyncio.wait_for(asyncio.gather(*(each.first for each in wave)), WAIT_SECONDS)
            self.subscribers += wave
        await asyncio.sleep(1.0)
        return (resident_bytes(self.plan.pid) - before) / self.plan.sockets

    async def _one(self, host: str, port: int, portfolio_id: str) -> Subscriber:
        raw = socket.socket()
        raw.setblocking(False)
        if self.plan.stalled:
            # So that what a stalled client does not read is soon the server's to keep.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, (host, port))
        _, subscriber = await loop.create_connection(
            lambda: Subscriber(self.seen, opening(self.plan, portfolio_id), portfolio_id), sock=raw
        )
        return subscriber

    async def latency(self, seconds: float) -> dict[str, float]:
        """Publish at the steady rate; milliseconds from publishing to the socket, and CPU."""
        self.seen.latencies = []
        cpu, count, began = cpu_seconds([self.plan.pid]), self.seen.messages, time.monotonic()
        behind = await self.publisher.publish(self.plan.events_per_second, seconds)
        took = time.monotonic() - began
        await self.settled()
        latencies, self.seen.latencies = np.array(self.seen.latencies), None
        spent = cpu_seconds([self.plan.pid]) - cpu
        count = self.seen.messages - count
        return {
            "p50_ms": float(np.percentile(latencies, 50)),
            "p99_ms": float(np.percentile(latencies, 99)),
            "messages": count,
            "per_second": count / took,
            "cpu_us": spent / count * 1e6,
            "behind_ms": behind * 1e3,
        }

    async def saturated(self, seconds: float) -> dict[str, float]:
        """Publish more than can be delivered, from a process of its own; what is delivered between its ends."""
        publishing = await self._publishing(seconds + 2 * RAMP_SECONDS)
        await asyncio.sleep(RAMP_SECONDS)
        mine = resource.getrusage(resource.RUSAGE_SELF)
        cpu, count, began = cpu_seconds([self.plan.pid]), self.seen.messages, time.monotonic()
        await asyncio.sleep(seconds)
        took, count = time.monotonic() - began, self.seen.messages - count
        spent = cpu_seconds([self.plan.pid]) - cpu
        now = resource.getrusage(resource.RUSAGE_SELF)
        said, _ = await publishing.communicate()
        published = json.loads(said)
        await self.publisher.read()
        await self.settled()
        return {
            "per_second": count / took,
            "cpu_us": spent / count * 1e6,
            "server_cores": spent / took,
            "client_cores": (now.ru_utime + now.ru_stime - mine.ru_utime - mine.ru_stime) / took,
            **published,
        }

    async def _publishing(self, seconds: float) -> asyncio.subprocess.Process:
        """Whoever reads a thousand sockets has no time to publish evenly, and a burst is conflated to one event."""
        plan = msgspec.structs.replace(self.plan, sockets=0, seconds=seconds)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.crowd", msgspec.json.encode(plan).decode(), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        if await process.stdout.readline() != b"publishing\n":
            raise Stuck("the publisher did not start")
        return process

    async def settled(self) -> None:
        """Wait until every subscriber who reads has the last sequence of its portfolio. Raises `Stuck`."""
        await self.publisher.finish()
        deadline = time.monotonic() + WAIT_SECONDS
        while late := [
            each for each in self._reading() if each.sequence() != self.publisher.sequences[each.portfolio_id]
        ]:
            if time.monotonic() > deadline:
                each = late[0]
                raise Stuck(
                    f"{len(late)} of {len(self.subscribers)} subscribers never heard the last: one of "
                    f"{each.portfolio_id} has {each.sequence()} of {self.publisher.sequences[each.portfolio_id]}, "
                    f"closed with {each.closed_with}"
                )
            await asyncio.sleep(0.05)

    def _reading(self) -> Iterator[Subscriber]:
        return (each for each in self.subscribers if each.measured)

    async def stall(self) -> dict[str, Any]:
        """Some stop reading. The others are measured before and meanwhile; then the stalled ones read why."""
        before = await self.latency(self.plan.seconds)
        stalled = self.subscribers[: self.plan.stalled]
        for each in stalled:
            each.measured = False
            each.transport.pause_reading()
        meanwhile = await self.latency(self.plan.stalled_seconds)
        for each in stalled:
            each.transport.resume_reading()
        deadline = time.monotonic() + 5.0
        while any(each.closed_with is None for each in stalled) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        codes = [each.closed_with for each in stalled]
        return {
            "before": before,
            "meanwhile": meanwhile,
            "codes": {str(code): codes.count(code) for code in set(codes)},
            "stop_seconds": await self._stop_with_stalled(),
        }

    async def _stop_with_stalled(self) -> float:
        """As many stop reading again; then the server is asked to stop. How long that took, in seconds."""
        for each in self.subscribers[-self.plan.stalled :]:
            each.measured = False
            each.transport.pause_reading()
        await self.publisher.publish(self.plan.events_per_second, FILL_SECONDS)
        os.kill(self.plan.pid, signal.SIGTERM)
        began = time.monotonic()
        while _runs(self.plan.pid) and time.monotonic() - began < WAIT_SECONDS:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        return time.monotonic() - began


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def publish(plan: Plan) -> dict[str, float]:
    """Publish at the saturating rate of a plan without sockets, and leave the last in the store."""
    redis = Redis.from_url(plan.redis_url)
    publisher = Publisher(redis, plan.portfolios)
    await publisher.read()
    print("publishing", flush=True)
    behind = await publisher.publish(plan.saturating_per_second, plan.seconds)
    count = publisher.count
    await publisher.finish()
    await redis.aclose()
    return {"published_per_second": count / plan.seconds, "behind_ms": behind * 1e3}


async def run(plan: Plan) -> dict[str, Any]:
    """Carry out a plan."""
    if not plan.sockets:
        return await publish(plan)
    redis = Redis.from_url(plan.redis_url)
    publisher = Publisher(redis, plan.portfolios)
    await publisher.read()
    crowd = Crowd(plan, publisher)
    told: dict[str, Any] = {"bytes_per_socket": await crowd.connect()}
    if plan.stalled:
        told["stalled"] = await crowd.stall()  # at the end of which the server is gone
    else:
        told["steady"] = await crowd.latency(plan.seconds)
        if plan.saturating_per_second:
            told["saturated"] = await crowd.saturated(plan.seconds)
        if plan.memory_minutes:
            told["soak"] = await soak(crowd)
    await redis.aclose()
    return told


async def soak(crowd: Crowd) -> dict[str, Any]:
    """The server's memory, a figure every tenth of the time."""
    figures = [resident_bytes(crowd.plan.pid)]
    messages = crowd.seen.messages
    for _ in range(10):
        await crowd.publisher.publish(crowd.plan.events_per_second, crowd.plan.memory_minutes * 6.0)
        await crowd.settled()
        figures.append(resident_bytes(crowd.plan.pid))
    return {"minutes": crowd.plan.memory_minutes, "bytes": figures, "messages": crowd.seen.messages - messages}


def main() -> None:
    """Carry out the plan that is the only argument; print what was seen."""
    processes.end_with_parent()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else soft, hard))
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    print(json.dumps(uvloop.run(run(plan))), flush=True)


if __name__ == "__main__":
    main()
