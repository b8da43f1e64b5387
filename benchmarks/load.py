"""A steady load of ticks on a running engine, and what a reader and the kernel's books say of it meanwhile.

**Latency** is that of each tick until the first snapshot that was calculated with it can be read. Every portfolio holds
all twenty stocks, so a snapshot's `as_of_ns`, its newest mark, is the send time of the newest tick it knows of, and a
message that knows of a newer one than all messages before it is the first for every tick sent in between.

- tick → Redis ends when that message reaches the reader's process. Redis sends it when the script that wrote the
  snapshot ends, so this is no sooner than the write and a socket later than it.
- tick → subscriber ends when the message has been decoded into typed snapshots.

The ticks of one message lie evenly between its two times, as they were sent. The *oldest* of them, the one that waited
longest, was sent just after the newest of the message before; that one's time stands for it, which overstates by less
than the distance between two ticks. Partitions may hand over a tick a poll later than a newer one of another partition;
it is then counted a few milliseconds too good.

That a tick's effect can be read does not mean that it can be read of every portfolio: with all of them touched in every
window, those that moved most go first (decision 16). **Renewal** says how long one portfolio's snapshot stands.

Half of what the oldest tick waits is our own choice, the window: conflation waits for it, then all is revalued once.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Stuck, cpu_seconds, memory_bytes, progress, wait_for
from benchmarks.records import PortfolioLog, write
from benchmarks.servers import Engine, Servers, python
from embedded.child import Child
from plimsoll import topics

WARM_UP_SECONDS = 3.0
EVENLY = (np.arange(20) + 0.5) / 20
"""Where the ticks of one snapshot stand between its oldest and its newest."""


class Latency(NamedTuple):
    """Milliseconds."""

    messages: int
    """That knew of newer ticks than all before."""
    each_to_redis: tuple[float, float]
    """p50 and p99, as all of these."""
    each_to_subscriber: tuple[float, float]
    oldest_to_redis: tuple[float, float]
    """Of each message, the tick that waited longest."""
    renewal: tuple[float, float]
    """Between two snapshots of one portfolio."""


class Cost(NamedTuple):
    """What a load took while it lasted."""

    ticks_per_second: float
    seconds: float
    behind_ms: float
    """How far the sender ever was behind its schedule."""
    snapshots_per_second: float
    worker_cores: float
    """CPU seconds a second, as a share of one core."""
    redis_cores: float
    broker_cores: float
    memory_bytes: int
    latency: Latency


@dataclass(slots=True)
class Load:
    """Ticks being sent; `watched` once a second is told the seconds since its start."""

    servers: Servers
    engine: Engine
    rate: float
    seconds: float

    def run(self, watched: Callable[[float], None] = lambda _: None) -> Cost:
        """Send, watch and follow; what it cost after a warm-up. Raises `Stuck`."""
        servers, engine = self.servers, self.engine
        noted = servers.directory / "noted.npz"
        noted.unlink(missing_ok=True)
        with (
            process(servers, "benchmarks.subscriber", servers.store.url, str(noted)) as reader,
            process(servers, "benchmarks.pacer", servers.brokers, str(self.rate), str(self.seconds)) as pacer,
        ):
            wait_for(lambda: "following" in reader.tail(), "subscriber", 30.0)
            time.sleep(WARM_UP_SECONDS)
            beat, wall_ns = self._published(), time.time_ns()
            began, before = time.monotonic(), self._spent()
            while pacer.exit_code() is None:
                watched(time.monotonic() - began)
                progress(f"ticks: {time.monotonic() - began:.0f} s of {self.seconds - WARM_UP_SECONDS:.0f} s")
                if not engine.is_alive():
                    raise Stuck(f"the engine did not live through the load:\n{engine.child.tail()}")
                after, ended = self._spent(), time.monotonic()
                pacer.wait(1.0)
            last_beat = self._published()
            memory = sum(memory_bytes(pid) for pid in engine.pids())
            progress("")
            if pacer.exit_code() != 0:
                raise Stuck(f"the sender of ticks did not end well:\n{pacer.tail()}")
            time.sleep(1.0)
            reader.stop(10.0)
            told = json.loads(pacer.tail(1))
        worker, store, broker = ((after - before) / (ended - began)).tolist()
        return Cost(
            ticks_per_second=told["per_second"],
            seconds=ended - began,
            behind_ms=told["behind_seconds"] * 1e3,
            snapshots_per_second=(last_beat[0] - beat[0]) / (last_beat[1] - beat[1]),
            worker_cores=worker,
            redis_cores=store,
            broker_cores=broker,
            memory_bytes=memory,
            latency=latency_of(*_noted(noted), wall_ns),
        )

    def _spent(self) -> NDArray[np.float64]:
        groups = (self.engine.pids(), [self.servers.store.pid], [self.servers.broker.pid])
        return np.array([cpu_seconds(pids) for pids in groups])

    def _published(self) -> tuple[int, float]:
        """Snapshots made, and when, in seconds: the workers' own count and clock, which beat once a second."""
        beats = self.engine.heartbeats()
        return sum(beat.published for beat in beats), max(beat.beat_at_ns for beat in beats) / 1e9


def _noted(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    with np.load(path) as arrays:
        return arrays["seen"], arrays["renewed"]


def latency_of(seen: NDArray[np.int64], renewed: NDArray[np.int64], from_ns: int) -> Latency:
    """Percentiles of what a subscriber noted after a moment. Raises `Stuck` where it is nothing.

    seen (message, `SEEN`) and renewed (snapshot, `RENEWED`), as `benchmarks.subscriber` has them
    """
    seen, renewed = seen[seen[:, 2] >= from_ns], renewed[renewed[:, 0] >= from_ns]
    if not len(seen) or not len(renewed):
        raise Stuck("no snapshot with a new tick reached the subscriber")
    received, decoded, before, as_of = seen.T
    sent = before[:, None] + (as_of - before)[:, None] * EVENLY
    return Latency(
        len(seen), _percentiles(received[:, None] - sent), _percentiles(decoded[:, None] - sent),
        _percentiles(received - before), _percentiles(renewed[:, 1]),
    )  # fmt: skip


def _percentiles(ns: NDArray[np.int64] | NDArray[np.float64]) -> tuple[float, float]:
    p50, p99 = np.percentile(ns, [50, 99]) / 1e6
    return float(p50), float(p99)


@contextlib.contextmanager
def process(servers: Servers, module: str, *arguments: str) -> Iterator[Child]:
    """One of our modules beside the engine, ended with the block."""
    log = servers.directory / f"{module}.log"
    log.unlink(missing_ok=True)
    child = python(module, *arguments, environ={}, log=log)
    try:
        yield child
    finally:
        child.stop(5.0)


def fill(servers: Servers, count: int, have: int, positions: int = 20) -> None:
    """Write the portfolios from number `have` up to `count`."""
    write(servers, topics.PORTFOLIO_UPDATES, PortfolioLog(count - have, positions, first=have).records())


def settled(engine: Engine, count: int, seconds: float = 300.0) -> float:
    """Wait until all `count` portfolios have a snapshot, and the worker says it runs; how long that took."""

    def there() -> bool:
        if not engine.is_alive():
            raise Stuck(f"the engine ended:\n{engine.child.tail()}")
        beats = engine.heartbeats()
        running = len(beats) == engine.workers and all(beat.state == "running" for beat in beats)
        return running and engine.snapshot_count() >= count

    return wait_for(there, f"snapshots of {count:,} portfolios", seconds)
