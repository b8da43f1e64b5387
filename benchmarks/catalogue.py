"""Every benchmark by name: how large it is in full and in a hurry, and what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks import fanout, footprint, pages, poison, queries, recovery, soak, sockets, ticks, updates
from benchmarks.measuring import Stuck
from benchmarks.report import Row, row
from benchmarks.servers import ROOT, environment, running


class Result(NamedTuple):
    """The rows of the table, the figures behind them, and the broker they were measured on."""

    rows: list[Row]
    figures: Any
    broker: str = ""


KERNEL_LEAST = 800_000
"""Full revaluations a second and core, of the 20 bundled stocks."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. What a benchmark does not use it ignores."""

    updates: int
    rounds: int
    portfolios: tuple[int, ...]
    ticks_per_second: float
    seconds: float
    soak_portfolios: int
    soak_ticks_per_second: float
    soak_minutes: float
    poison_updates: int
    kernel_rounds: int
    query_seconds: float
    socket_seconds: float
    socket_minutes: float


FULL = Sizes(
    updates=200_000,
    rounds=3,
    portfolios=(1_000, 10_000, 100_000),
    ticks_per_second=5_000,
    seconds=30,
    soak_portfolios=10_000,
    soak_ticks_per_second=20_000,
    soak_minutes=10,
    poison_updates=100_000,
    kernel_rounds=15,
    query_seconds=10,
    socket_seconds=10,
    socket_minutes=10,
)
QUICK = Sizes(
    updates=60_000,
    rounds=1,
    portfolios=(1_000, 10_000),
    ticks_per_second=5_000,
    seconds=10,
    soak_portfolios=10_000,
    soak_ticks_per_second=20_000,
    soak_minutes=0.5,
    poison_updates=30_000,
    kernel_rounds=5,
    query_seconds=3,
    socket_seconds=4,
    socket_minutes=0.5,
)


def run_updates(sizes: Sizes, broker: str, directory: Path | None) -> Result:
    """Kafka to Redis, beside the bare loop and the naive map flow."""
    with running(broker, directory) as servers:
        figures = updates.measure(servers, sizes.updates, sizes.rounds)
    return Result(updates.rows(figures), figures, servers.broker_name)


def run_ticks(sizes: Sizes, broker: str, directory: Path | None) -> Result:
    """Latency, CPU and memory under ticks."""
    with running(broker, directory) as servers:
        figures = ticks.measure(servers, list(sizes.portfolios), sizes.ticks_per_second, sizes.seconds)
    return Result(ticks.rows(figures), figures, servers.broker_name)


def run_soak(sizes: Sizes, broker: str, directory: Path | None) -> Result:
    """Memory and lag over minutes."""
    with running(broker, directory) as servers:
        figures = soak.measure(servers, sizes.soak_portfolios, sizes.soak_ticks_per_second, sizes.soak_minutes)
    return Result(soak.rows(figures), figures, servers.broker_name)


def run_poison(sizes: Sizes, broker: str, directory: Path | None) -> Result:
    """A tenth of the log cannot be applied."""
    with running(broker, directory) as clean, running(broker, directory) as mixed:
        figures = poison.measure(clean, mixed, sizes.poison_updates, sizes.rounds)
    return Result(poison.rows(figures), figures, clean.broker_name)


def run_recovery(sizes: Sizes, broker: str, directory: Path | None) -> Result:
    """SIGKILL, and the cost of epochs."""
    with running(broker, directory) as servers:
        figures = recovery.measure(servers, sizes.portfolios[1:] or sizes.portfolios, sizes.rounds, sizes.seconds)
    return Result(recovery.rows(figures), figures, servers.broker_name)


def run_footprint(sizes: Sizes, broker: str, directory: Path | None) -> Result:
    """What a portfolio takes in Redis and in Kafka."""
    with running(broker, directory) as servers:
        figures = footprint.measure(servers, max(sizes.portfolios))
    return Result(footprint.rows(figures), figures, servers.broker_name)


def run_kernel(sizes: Sizes, broker: str, directory: Path | None) -> Result:
    """The valuation alone; needs no server, and a process whose numpy has one thread."""
    with tempfile.TemporaryDirectory() as home:
        figures = Path(home, "kernel.json")
        command = [sys.executable, "-m", "benchmarks.kernel", "--rounds", str(sizes.kernel_rounds), "--json"]
        done = subprocess.run(
            [*command, str(figures)], cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise Stuck(f"the kernel's benchmark ended with exit code {done.returncode}")
        told = json.loads(figures.read_text(encoding="utf-8"))
    rows = [
        row(
            f"full revaluations a second and core, {each['universe']}",
            f"{each['kernel_per_second']:,}/s",
            baseline=f"plain numpy {each['loop_per_second']:,}/s",
            ratio=each["ratio"],
        )
        for each in told["kernel"]
    ]
    bundled = told["kernel"][0]["kernel_per_second"]
    rows[0] = replace(rows[0], target=f"≥ {KERNEL_LEAST:,}/s", reached=bundled >= KERNEL_LEAST)
    held = told["memory"]["bytes_per_portfolio"]
    rows.append(
        row("engine state for each portfolio of 20 positions", f"{held} B", value=held, at_most=1024, unit=" B")
    )
    return Result(rows, told)


def run_queries(sizes: Sizes, broker: str, directory: Path | None) -> Result:
    """Questions to one API worker, beside stock Strawberry and REST; needs no broker."""
    figures = queries.measure(sizes.rounds, sizes.query_seconds)
    return Result(queries.rows(figures), {name: msgspec.to_builtins(told) for name, told in figures._asdict().items()})


def run_fanout(sizes: Sizes, _broker: str, directory: Path | None) -> Result:
    """A thousand sockets on one stream, beside stock Strawberry and a plain broadcast."""
    figures = fanout.measure(sizes.socket_seconds, sizes.socket_minutes, directory)
    return Result(fanout.rows(figures), figures)


def run_sockets(sizes: Sizes, _broker: str, directory: Path | None) -> Result:
    """A thousand sockets on as many portfolios, and clients that stop reading."""
    figures = sockets.measure(sizes.socket_seconds, directory)
    return Result(sockets.rows(figures), figures)


def run_pages(sizes: Sizes, _broker: str, directory: Path | None) -> Result:
    """The dashboard in a real browser, at rest and at 2,000 changes a second; and twenty of them on one API process."""
    figures = pages.measure(sizes.socket_seconds, directory)
    return Result(pages.rows(figures), {name: told._asdict() for name, told in figures._asdict().items()})


RUNS: dict[str, Callable[[Sizes, str, Path | None], Result]] = {
    "kernel": run_kernel,
    "updates": run_updates,
    "ticks": run_ticks,
    "poison": run_poison,
    "recovery": run_recovery,
    "footprint": run_footprint,
    "soak": run_soak,
    "queries": run_queries,
    "fanout": run_fanout,
    "sockets": run_sockets,
    "pages": run_pages,
}
"""In the order in which `all` runs them."""
