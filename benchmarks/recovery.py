"""A worker killed under load: how long until readers hear of their portfolios again, and what being able to costs.

SIGKILL to the worker while ticks arrive; its supervisor, the very one that users run, starts it again. The time runs
from the kill to the first announcement of a new snapshot, so it holds the supervisor's pause, the process's start, and
reading back: from the recovery directory, and once more without one, when everything is read from Kafka's log again.

What an epoch costs is the same load with recovery states saved once a second, and with none saved.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import redis.client

from benchmarks.load import Cost, Load, fill, process, settled
from benchmarks.measuring import Stuck, children_of, progress, wait_for
from benchmarks.records import FIRST_ADVISORS, write_market
from benchmarks.report import Row, row
from benchmarks.servers import Engine, Servers
from benchmarks.ticks import RECORD_BYTES, WIDE
from plimsoll import keys

RATE = 1_000.0
"""Ticks a second meanwhile."""
EPOCHS = 3
"""Recovery states that the worker may save before it is killed."""
BACK_SECONDS_MAX = 120.0


class Size(NamedTuple):
    """One size of book; seconds are medians of the rounds."""

    portfolios: int
    resumed_seconds: float
    rebuilt_seconds: float
    state_bytes: int
    saving: Cost
    not_saving: Cost


def measure(servers: Servers, sizes: Sequence[int], rounds: int, seconds: float) -> list[Size]:
    """One size after another on a log that grows; `seconds` is how long each load lasts."""
    write_market(servers)
    measured, have = [], 0
    for count in sorted({servers.records_at_most(size, RECORD_BYTES) for size in sizes}):
        fill(servers, count, have)
        have = count
        resumed, rebuilt = [], []
        for number in range(rounds):
            progress(f"{count:,} portfolios: kill {number + 1} of {rounds}")
            resumed.append(_back_after_kill(servers, count, _new_directory(servers)))
            rebuilt.append(_back_after_kill(servers, count, None))
        directory = _new_directory(servers)
        saving = _under_load(servers, count, directory, seconds)
        state = sum(each.stat().st_size for each in directory.rglob("*") if each.is_file())
        not_saving = _under_load(servers, count, None, seconds)
        measured.append(Size(count, statistics.median(resumed), statistics.median(rebuilt), state, saving, not_saving))
    return measured


def _back_after_kill(servers: Servers, count: int, directory: Path | None) -> float:
    """Seconds from SIGKILL to the next announcement."""
    servers.empty_store()
    with (
        Engine(servers, window_ms=_window_ms(count), recovery=directory) as engine,
        servers.client() as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
    ):
        settled(engine, count)
        with process(servers, "benchmarks.pacer", servers.brokers, str(RATE), str(BACK_SECONDS_MAX * 2)):
            channel.subscribe(*(keys.risk_channel(advisor) for advisor in FIRST_ADVISORS))
            _next_announcement(channel)
            time.sleep(EPOCHS)
            (worker,) = engine.pids()
            os.kill(worker, signal.SIGKILL)
            killed = time.monotonic()
            wait_for(lambda: worker not in children_of(engine.child.pid), "end of the killed worker", 10.0)
            while channel.get_message(timeout=0.0) is not None:
                pass  # Published before it died.
            _next_announcement(channel)
            return time.monotonic() - killed


def _next_announcement(channel: redis.client.PubSub) -> None:
    deadline = time.monotonic() + BACK_SECONDS_MAX
    while channel.get_message(timeout=0.2) is None:
        if time.monotonic() > deadline:
            raise Stuck(f"no snapshot was published within {BACK_SECONDS_MAX:g} s")


def _under_load(servers: Servers, count: int, directory: Path | None, seconds: float) -> Cost:
    servers.empty_store()
    with Engine(servers, window_ms=_window_ms(count), recovery=directory) as engine:
        settled(engine, count)
        return Load(servers, engine, RATE, seconds).run()


def _window_ms(count: int) -> int:
    return 250 if count >= WIDE else 50


def _new_directory(servers: Servers) -> Path:
    return Path(tempfile.mkdtemp(prefix="recovery-", dir=servers.directory))


def rows(sizes: list[Size]) -> list[Row]:
    """The claims about restarts."""
    told = []
    for each in sizes:
        saving, plain = each.saving, each.not_saving
        told += [
            row(
                f"{each.portfolios:,} portfolios: SIGKILL to the next publication", f"{each.resumed_seconds:.1f} s",
                baseline=f"from the log alone {each.rebuilt_seconds:.1f} s",
                ratio=each.resumed_seconds / each.rebuilt_seconds,
                value=each.resumed_seconds, at_most=5, unit=" s",
            ),
            row(
                "   an epoch a second: worker's share of a core, p99 tick → Redis",
                f"{saving.worker_cores:.2f}, {saving.latency.each_to_redis[1]:.0f} ms",
                baseline=f"without {plain.worker_cores:.2f}, {plain.latency.each_to_redis[1]:.0f} ms",
                ratio=saving.worker_cores / plain.worker_cores,
            ),
            row(
                "   recovery directory", f"{each.state_bytes / 1e6:.1f} MB",
                baseline=f"{each.state_bytes / each.portfolios:,.0f} B a portfolio",
            ),
        ]  # fmt: skip
    return told
