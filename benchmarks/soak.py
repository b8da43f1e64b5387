"""Ticks for minutes on end: whether memory stays flat, the engine keeps up, and nothing is said in anger.

Once a second the worker's memory is read, and how old the newest mark in Redis is: a reader's view of the lag, which
stays bounded where the engine keeps up and grows with the run where it does not. The first fifth is warm-up and counts
for neither. Errors are lines of that level in the engine's log; a restart is a worker's process number that changes.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from benchmarks.load import Cost, Load, fill, settled
from benchmarks.measuring import memory_bytes, slope
from benchmarks.records import write_market
from benchmarks.report import Row, row
from benchmarks.servers import Engine, Servers
from benchmarks.ticks import RECORD_BYTES
from plimsoll import keys, messages
from plimsoll.messages import Mark

WARM_UP = 0.2
"""Share of the run that counts for nothing."""
GROWTH_MAX = 0.1
"""Per cent of the memory a minute that still passes for flat: noise of the allocator, 6 % an hour at most."""
LAG_MS_MAX = 1_000


class Figures(NamedTuple):
    """What was seen after the warm-up."""

    portfolios: int
    minutes: float
    cost: Cost
    memory_mib: tuple[float, float]
    """At the end of the warm-up, and at the end."""
    growth_percent_per_minute: float
    lag_ms: tuple[float, float, float]
    """p50, p99 and the most."""
    errors: int
    warnings: int
    restarts: int


def measure(servers: Servers, portfolios: int, rate: float, minutes: float) -> Figures:
    """Fill, then send `rate` ticks a second for so many minutes."""
    portfolios = servers.records_at_most(portfolios, RECORD_BYTES)
    write_market(servers)
    fill(servers, portfolios, 0)
    servers.empty_store()
    seen: list[tuple[float, int, float]] = []
    with Engine(servers) as engine, servers.client() as client:
        settled(engine, portfolios)
        pids = engine.pids()

        def look(elapsed: float) -> None:
            newest_ns = max(messages.decode(each, Mark).event_time_ns for each in client.hvals(keys.MARKS))
            age_ms = (time.time_ns() - newest_ns) / 1e6
            seen.append((elapsed, sum(memory_bytes(pid) for pid in engine.pids()), age_ms))

        cost = Load(servers, engine, rate, minutes * 60.0).run(look)
        engine.forget_pids()
        restarts = len(set(engine.pids()) - set(pids))
        errors, warnings = len(engine.said('"level": "error"')), len(engine.said('"level": "warning"'))
    at, memory, lag = np.array(seen)[int(WARM_UP * len(seen)) :].T
    growth = slope((at / 60.0).tolist(), memory.tolist()) / float(memory.mean()) * 100.0
    p50, p99 = np.percentile(lag, [50, 99]).tolist()
    ends = (float(memory[0]) / 2**20, float(memory[-1]) / 2**20)
    return Figures(portfolios, minutes, cost, ends, growth, (p50, p99, float(lag.max())), errors, warnings, restarts)


def rows(figures: Figures) -> list[Row]:
    """The claims about a long run."""
    quiet = not (figures.errors or figures.restarts)
    load = f"{figures.portfolios:,} portfolios, {figures.cost.ticks_per_second:,.0f} ticks/s, {figures.minutes:g} min"
    return [
        row(
            f"{load}: memory grows a minute", f"{figures.growth_percent_per_minute:+.3f} %",
            baseline="{:.0f} MiB after warm-up, {:.0f} MiB at the end".format(*figures.memory_mib),
            value=figures.growth_percent_per_minute, at_most=GROWTH_MAX, unit=" %",
        ),
        row(
            "   age of the newest mark in Redis, p50 / p99 / most",
            "{:.0f} / {:.0f} / {:.0f} ms".format(*figures.lag_ms),
            value=figures.lag_ms[2], at_most=LAG_MS_MAX, unit=" ms",
        ),
        Row(
            "   errors, restarts, warnings", f"{figures.errors}, {figures.restarts}, {figures.warnings}",
            "0, 0", reached=quiet,
        ),
    ]  # fmt: skip
