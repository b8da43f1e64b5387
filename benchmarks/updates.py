"""Portfolio updates from Kafka to Redis: the engine beside the bare loop and the naive map flow, on one log.

N distinct portfolios are written first. Then, one after another and on the same log: (a) the bare loop, which reads
and decodes; (b) the map flow, over the first part of the log that it gets to, because it is slow; (c) the engine with
one worker, from an empty Redis until every portfolio's snapshot is there; (d) the engine with two. After (c) and (d)
the snapshots are counted, and a sample of them is compared with `plimsoll.risk`.

Rates are of the steady part. CPU is that of the workers over the same span, Redis and the broker apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import redis

from benchmarks.measuring import Steady, Stuck, median_of, progress, steady, wait_for, watch
from benchmarks.records import PortfolioLog, write, write_market
from benchmarks.reference import Differs, Reference
from benchmarks.report import Row, row
from benchmarks.servers import Engine, Servers, python
from plimsoll import keys, topics

POSITIONS = 15
RECORD_BYTES = 2_200
"""Of one update, generously."""
MAPPED = 20_000
"""Updates that the map flow is timed over, at most a tenth of the log."""
SECONDS_MAX = 600.0


class Figures(NamedTuple):
    """Medians of the rounds."""

    updates: int
    bare: Steady
    naive: Steady
    engine: Steady
    two_workers: Steady


def measure(servers: Servers, count: int, rounds: int) -> Figures:
    """Write the log, then run each in turn, `rounds` times."""
    count = servers.records_at_most(count, RECORD_BYTES)
    log = PortfolioLog(count, POSITIONS)
    write_market(servers)
    write(servers, topics.PORTFOLIO_UPDATES, log.records())
    reference = Reference()
    runs: dict[str, list[Steady]] = {"bare": [], "naive": [], "engine": [], "two_workers": []}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        runs["bare"].append(bare_loop(servers, count))
        runs["naive"].append(map_flow(servers, min(MAPPED, count // 10), reference, log))
        runs["engine"].append(engine(servers, count, 1, reference, log))
        runs["two_workers"].append(engine(servers, count, 2, reference, log))
    return Figures(count, **{name: median_of(each) for name, each in runs.items()})


def bare_loop(servers: Servers, count: int) -> Steady:
    """(a) Consume and decode, nothing else."""
    log = servers.directory / "bare.log"
    log.unlink(missing_ok=True)
    child = python("benchmarks.loops", "bare", servers.brokers, str(count), environ={}, log=log)
    if not child.wait(SECONDS_MAX) or child.exit_code() != 0:
        child.stop(0.0)
        raise Stuck(f"the bare loop did not end well:\n{child.tail()}")
    told = json.loads(child.tail(1))
    return Steady(told["per_second"], {"workers": told["cpu_per_1000"]}, told["per_second"], {})


def map_flow(servers: Servers, count: int, reference: Reference, log: PortfolioLog) -> Steady:
    """(b) Bytewax, one message at a time, until `count` portfolios are in Redis."""
    servers.empty_store()
    child = python(
        "benchmarks.loops", "map", servers.brokers, servers.store.url, environ={}, log=servers.directory / "map.log"
    )
    try:
        with servers.client() as client:
            samples = watch(
                "map flow", lambda: int(client.dbsize()), count, _groups(servers, lambda: [child.pid]),
                seconds_max=SECONDS_MAX, alive=lambda: child.exit_code() is None,
            )  # fmt: skip
            check(client, reference, log, whole=False)
    except Stuck as stuck:
        raise Stuck(f"{stuck}\n{child.tail()}") from None
    finally:
        child.stop(0.0)
    return steady(samples, count)


def engine(
    servers: Servers,
    count: int,
    workers: int,
    reference: Reference,
    log: PortfolioLog,
    look: Callable[[Engine], None] = lambda _: None,
) -> Steady:
    """(c) and (d) The engine, until every portfolio's snapshot is in an empty Redis; then check them, and `look`."""
    servers.empty_store()
    with Engine(servers, workers=workers) as running:
        try:
            samples = watch(
                f"engine, workers: {workers}", running.snapshot_count, count, _groups(servers, running.pids),
                seconds_max=SECONDS_MAX, alive=running.is_alive,
            )  # fmt: skip
        except Stuck as stuck:
            raise Stuck(f"{stuck}\n{running.child.tail()}") from None
        with servers.client() as client:
            wait_for(lambda: _risk_keys(client) == count, f"{count:,} snapshots", 30.0)
            check(client, reference, log, whole=True)
        look(running)
        began = running.began_reading()
    return steady(samples, count, began)


def _groups(servers: Servers, workers: Callable[[], Iterable[int]]) -> dict[str, Callable[[], Iterable[int]]]:
    return {"workers": workers, "redis": lambda: [servers.store.pid], "broker": lambda: [servers.broker.pid]}


def _risk_keys(client: redis.Redis) -> int:
    return sum(1 for _ in client.scan_iter(keys.risk("*"), count=10_000))


def check(client: redis.Redis, reference: Reference, log: PortfolioLog, *, whole: bool) -> int:
    """Compare the sampled portfolios' snapshots; how many. Raises `Differs`. `whole`: all of them have to be there."""
    ids = list(log.sampled)
    stored: list[Any] = client.mget([keys.risk(each) for each in ids])
    found = [(each, snapshot) for each, snapshot in zip(ids, stored, strict=True) if snapshot is not None]
    if not found or (whole and len(found) < len(ids)):
        raise Differs(f"{len(found)} of {len(ids)} sampled portfolios have a snapshot")
    for portfolio_id, snapshot in found:
        reference.check(snapshot, log.sampled[portfolio_id])
    return len(found)


def rows(figures: Figures) -> list[Row]:
    """The claims about updates."""
    bare, naive, one, two = figures.bare, figures.naive, figures.engine, figures.two_workers
    cpu = one.cpu_per_1000
    return [
        row(
            f"updates a second, one worker ({figures.updates:,} of 2 KB)", f"{one.per_second:,.0f}/s",
            baseline=f"naive map flow {naive.per_second:,.0f}/s",
            ratio=one.per_second / naive.per_second, at_least=20,
        ),
        row(
            "the same, beside reading and decoding alone", f"{one.per_second:,.0f}/s",
            baseline=f"bare loop {bare.per_second:,.0f}/s",
            ratio=one.per_second / bare.per_second, at_least=0.25,
        ),
        row(
            "CPU for 1,000 updates, the worker", f"{cpu['workers']:.4f} s",
            baseline=f"naive {naive.cpu_per_1000['workers']:.3f} s, bare {bare.cpu_per_1000['workers']:.4f} s",
            value=cpu["workers"], at_most=0.016, unit=" s", ratio=cpu["workers"] / naive.cpu_per_1000["workers"],
        ),
        row("CPU for 1,000 updates, Redis and broker", f"{cpu['redis']:.4f} s and {cpu['broker']:.4f} s"),
        row(
            "two workers", f"{two.per_second:,.0f}/s at {two.cpu_per_1000['workers']:.4f} s",
            baseline=f"one worker {one.per_second:,.0f}/s", ratio=two.per_second / one.per_second, at_least=1.3,
        ),
        row(
            "from the first read to the last snapshot, connecting and scenarios included",
            f"{one.whole_per_second:,.0f}/s at {one.whole_cpu_per_1000['workers']:.4f} s",
            baseline=f"two workers {two.whole_per_second:,.0f}/s",
            ratio=two.whole_per_second / one.whole_per_second,
        ),
    ]  # fmt: skip
