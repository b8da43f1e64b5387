"""Ticks to Redis and to a subscriber: how late, at what CPU, in how much memory, for books of several sizes.

For each size the engine starts on an empty Redis, values every portfolio (20 positions), and then meets a steady rate
of ticks; what is measured of it, and how, is `benchmarks.load`. The baseline is the same measures portfolio by
portfolio in plain numpy: how many it makes in a second, against what this load would ask of it without conflation,
where each tick makes every holder's portfolio due.

Memory is what the system gives the worker under load: the slope over sizes, with all that is in flight and all that a
first reading left behind in Python's heap. What the engine itself holds of a portfolio `benchmarks.kernel` counts.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks.load import Cost, Load, fill, settled
from benchmarks.measuring import slope
from benchmarks.records import PortfolioLog, write_market
from benchmarks.reference import Reference, naive
from benchmarks.report import Row, row
from benchmarks.servers import Engine, Servers
from plimsoll import messages
from plimsoll.messages import PortfolioUpdate

HANDFUL = 10
RECORD_BYTES = 2_800
LOOP_SECONDS = 1.0
WIDE = 50_000
"""From so many portfolios on the window is 250 ms, not 50: revaluing all of them takes longer than the short one."""


class Size(NamedTuple):
    """One size of book under load."""

    portfolios: int
    window_ms: int
    start_seconds: float
    """From the engine's start until every portfolio had its snapshot."""
    cost: Cost


class Figures(NamedTuple):
    """All sizes, the handful first."""

    rate: float
    loop_per_second: float
    sizes: list[Size]
    memory_per_portfolio: float
    """Bytes, by least squares over all sizes but the handful; of a single size, against the handful."""


def measure(servers: Servers, sizes: list[int], rate: float, seconds: float) -> Figures:
    """One size after another, smallest first, on one log that grows."""
    wanted = sorted({HANDFUL, *(servers.records_at_most(size, RECORD_BYTES) for size in sizes)})
    write_market(servers)
    measured, have = [], 0
    for count in wanted:
        fill(servers, count, have)
        have = count
        servers.empty_store()
        window_ms = 250 if count >= WIDE else 50
        with Engine(servers, window_ms=window_ms) as engine:
            start_seconds = settled(engine, count)
            cost = Load(servers, engine, rate, seconds).run()
        measured.append(Size(count, window_ms, start_seconds, cost))
    grown = measured[1:] if len(measured) > 2 else measured
    per_portfolio = slope([each.portfolios for each in grown], [each.cost.memory_bytes for each in grown])
    return Figures(rate, loop_rate(), measured, per_portfolio)


def loop_rate() -> float:
    """Portfolios of 20 positions that plain numpy measures in a second, one by one."""
    reference = Reference()
    updates = [messages.decode(value, PortfolioUpdate) for _, value in PortfolioLog(200, 20).records()]
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < LOOP_SECONDS:
        naive(updates[done % len(updates)], reference.market, reference.number)
        done += 1
    return done / (time.perf_counter() - began)


def rows(figures: Figures) -> list[Row]:
    """The claims about ticks."""
    handful, *others = figures.sizes
    told: list[Row] = []
    for each in others:
        told += _rows_of(each, figures)
    least, most = others[0], others[-1]
    each_more = (most.cost.memory_bytes - handful.cost.memory_bytes) / most.portfolios
    told.append(
        row(
            f"resident memory for each portfolio, {least.portfolios:,} to {most.portfolios:,}",
            f"{figures.memory_per_portfolio:,.0f} B",
            baseline=f"{each_more:,.0f} B above the {handful.cost.memory_bytes >> 20} MiB of {HANDFUL} portfolios",
        )
    )  # fmt: skip
    if most is not least:
        few, many = (each.cost.worker_cores / each.cost.snapshots_per_second * 1e6 for each in (least, most))
        told.append(
            row(
                f"worker's CPU for a snapshot, {most.portfolios:,} portfolios", f"{many:.1f} µs",
                baseline=f"{least.portfolios:,} portfolios {few:.1f} µs", ratio=many / few,
            )
        )  # fmt: skip
    return told


def _rows_of(size: Size, figures: Figures) -> list[Row]:
    cost, latency = size.cost, size.cost.latency
    name = f"{size.portfolios:,} portfolios, {cost.ticks_per_second:,.0f} ticks/s, {size.window_ms} ms window"
    needed = cost.ticks_per_second * size.portfolios
    redis_ms, subscriber_ms = size.window_ms + 25, size.window_ms + 50
    return [
        row(
            f"{name}: tick → Redis, p50 / p99", "{:.0f} / {:.0f} ms".format(*latency.each_to_redis),
            baseline="oldest of each window {:.0f} / {:.0f} ms".format(*latency.oldest_to_redis),
            value=latency.each_to_redis[1], at_most=redis_ms, unit=" ms",
        ),
        row(
            "   → subscriber, p50 / p99", "{:.0f} / {:.0f} ms".format(*latency.each_to_subscriber),
            value=latency.each_to_subscriber[1], at_most=subscriber_ms, unit=" ms",
        ),
        row("   a portfolio is renewed after, p50 / p99", "{:,.0f} / {:,.0f} ms".format(*latency.renewal)),
        row(
            "   worker's share of a core", f"{cost.worker_cores:.2f}",
            baseline=f"Redis {cost.redis_cores:.2f}, broker {cost.broker_cores:.2f}",
            value=cost.worker_cores, at_most=0.5,
        ),
        row(
            "   snapshots a second", f"{cost.snapshots_per_second:,.0f}/s",
            baseline=f"plain numpy {figures.loop_per_second:,.0f}/s, {needed:,.0f}/s without conflation",
            ratio=cost.snapshots_per_second / figures.loop_per_second,
        ),
    ]  # fmt: skip
