"""A thousand sockets on one stream: the API beside stock Strawberry and beside a plain websocket broadcast.

One after another, each server alone on the first core of the machine; its subscribers, whoever publishes, and Redis on
the others. What is published is what the engine would: messages on an advisor's channel. What is measured, and how it
is checked, is `benchmarks.crowd`.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.crowd import Plan
from benchmarks.measuring import Stuck, progress, wait_for
from benchmarks.report import Row, row
from benchmarks.servers import python
from embedded.child import Child
from embedded.store import EmbeddedStore, connect, free_port
from plimsoll import keys
from plimsoll.messages import RiskSnapshot, RiskTolerance, encode
from plimsoll.transport import Redis

SOCKETS = 1_000
EVENTS_PER_SECOND = 5.0
SATURATING_PER_SECOND = {"api": 160.0, "stock": 20.0, "raw": 160.0}
"""Events a second that are more than each can deliver to all; more yet would only measure Redis."""
START_SECONDS = 60.0
RUN_SECONDS = 900.0
_SERVER_CORE = 0


class Server(NamedTuple):
    """One that is measured."""

    child: Child
    url: str
    redis_url: str
    directory: Path


@contextlib.contextmanager
def serving(kind: str, portfolios: Sequence[Sequence[str]], directory: Path | None) -> Iterator[Server]:
    """`api`, `stock` or `raw`, over a Redis of its own that holds a snapshot of each portfolio."""
    with tempfile.TemporaryDirectory(prefix="plimsoll-bench-", dir=directory) as name:
        home = Path(name)
        with EmbeddedStore.start(home) as store:
            os.sched_setaffinity(store.pid, _other_cores())
            _fill(store.url, portfolios)
            port = free_port()
            child = _start(kind, port, store.url, home / f"{kind}.log")
            os.sched_setaffinity(child.pid, {_SERVER_CORE})
            url = f"http://127.0.0.1:{port}"
            try:
                wait_for(lambda: _answers(url, child), f"answer of {kind}", START_SECONDS)
                yield Server(child, url, store.url, home)
            finally:
                child.stop(15.0)


def _start(kind: str, port: int, redis_url: str, log: Path) -> Child:
    if kind == "api":
        environ = {"REDIS_URL": redis_url, "KAFKA_BROKERS": "127.0.0.1:1"}
        return python("api", "--port", str(port), environ=environ, log=log)
    return python("benchmarks.rivals", kind, str(port), redis_url, environ={}, log=log)


def _other_cores() -> set[int]:
    cores = os.sched_getaffinity(0) - {_SERVER_CORE}
    return cores or {_SERVER_CORE}


def _answers(url: str, child: Child) -> bool:
    if child.exit_code() is not None:
        raise Stuck(f"the server ended with exit code {child.exit_code()}:\n{child.tail()}")
    try:
        with urllib.request.urlopen(f"{url}/live", timeout=1.0) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


def _fill(redis_url: str, portfolios: Sequence[Sequence[str]]) -> None:
    template = snapshot()
    with connect(Redis(redis_url), seconds=30.0) as client:
        # A server that is not as quick as what is published is to be measured, and not to be cut off by Redis.
        client.config_set("client-output-buffer-limit", "pubsub 0 0 0")
        for number, ids in enumerate(portfolios):
            for portfolio_id in ids:
                stored = msgspec.structs.replace(
                    template, portfolio_id=portfolio_id, advisor_id=f"advisor-{number}", sequence="1"
                )
                client.set(keys.risk(portfolio_id), encode(stored))


def snapshot() -> RiskSnapshot:
    """One with a value in every field, about as long as the engine's."""
    text = {"sequence": "1", "method": "filtered_historical", "scenario_set_id": "0123456789abcdef"}
    texts = {"portfolio_id", "advisor_id", "client_id", "var_95_scenario_date"}
    counts = {"risk_number": 57, "risk_number_structural": 49, "horizon_days": 1, "observations": 500}
    values: dict[str, Any] = {}
    for name in RiskSnapshot.__struct_fields__:
        if name in texts:
            values[name] = "2020-03-12"
        elif name.endswith("_symbols"):
            values[name] = []
        elif name.endswith("_ns"):
            values[name] = time.time_ns()
        elif name in ("calculations", "source_partition", "source_offset"):
            values[name] = 7
        else:
            values[name] = counts.get(name, 12_345.678901234567)
    return RiskSnapshot(**{**values, **text, "risk_tolerance": RiskTolerance.MODERATE})


def crowd(server: Server, **stated: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of a `Plan`
    """Let a crowd loose on it. Raises `Stuck` when it does not end well."""
    plan = Plan(url=server.url, pid=server.child.pid, redis_url=server.redis_url, **stated)
    log = server.directory / "crowd.log"
    log.unlink(missing_ok=True)
    child = python("benchmarks.crowd", msgspec.json.encode(plan).decode(), environ={}, log=log)
    os.sched_setaffinity(child.pid, _other_cores())
    if not child.wait(RUN_SECONDS) or child.exit_code() != 0:
        child.stop(0.0)
        raise Stuck(f"the crowd did not end well:\n{child.tail()}\nserver:\n{server.child.tail()}")
    told: dict[str, Any] = json.loads(child.tail(1))
    return told


class Figures(NamedTuple):
    """What the crowd saw of each."""

    api: dict[str, Any]
    stock: dict[str, Any]
    raw: dict[str, Any]


def measure(seconds: float, minutes: float, directory: Path | None) -> Figures:
    """One after another; the API's memory is watched for so many minutes at the end of its turn."""
    seen = {}
    for kind in Figures._fields:
        progress(f"{SOCKETS:,} sockets on one stream: {kind}")
        with serving(kind, [["portfolio-1"]], directory) as server:
            seen[kind] = crowd(
                server,
                sockets=SOCKETS,
                portfolios=[["portfolio-1"]],
                events_per_second=EVENTS_PER_SECOND,
                saturating_per_second=SATURATING_PER_SECOND[kind],
                seconds=seconds,
                speaks_graphql=kind != "raw",
                memory_minutes=minutes if kind == "api" else 0.0,
            )
    progress("")
    return Figures(**seen)


def delivered(what: str, least: int, api: dict[str, Any], stock: dict[str, Any], raw: dict[str, Any]) -> Row:
    """What arrived in a second, of each."""
    ours, theirs, bare = (each["saturated"]["per_second"] for each in (api, stock, raw))
    return Row(
        what,
        f"{ours:,.0f}/s",
        f"≥ {least:,}/s",
        f"stock {theirs:,.0f}/s, raw {bare:,.0f}/s",
        ours / theirs,
        ours >= least,
    )


def rows(figures: Figures) -> list[Row]:
    """The claims about fan-out."""
    api, stock, raw = figures
    steady, full = api["steady"], api["saturated"]
    told = [
        delivered(f"{SOCKETS:,} sockets on one stream, saturated", 100_000, api, stock, raw),
        row(
            "   server's and client's share of a core then",
            f"{full['server_cores']:.2f} and {full['client_cores']:.2f}",
        ),
        row(
            f"   at {steady['per_second']:,.0f} messages/s, published → received, p50 / p99",
            f"{steady['p50_ms']:.1f} / {steady['p99_ms']:.1f} ms",
            baseline="stock {p50_ms:.1f} / {p99_ms:.1f} ms, ".format(**stock["steady"])
            + "raw {p50_ms:.1f} / {p99_ms:.1f} ms".format(**raw["steady"]),
            value=steady["p99_ms"], at_most=15.0, unit=" ms",
        ),
        row(
            "   server's CPU for a message, saturated", f"{full['cpu_us']:.1f} µs",
            baseline=f"stock {stock['saturated']['cpu_us']:.1f} µs, raw {raw['saturated']['cpu_us']:.1f} µs",
            ratio=full["cpu_us"] / stock["saturated"]["cpu_us"],
        ),
        row(
            "   memory for a socket", f"{api['bytes_per_socket'] / 1000:.1f} KB",
            baseline=f"stock {stock['bytes_per_socket'] / 1000:.1f} KB, raw {raw['bytes_per_socket'] / 1000:.1f} KB",
            value=api["bytes_per_socket"] / 1000, at_most=40.0, unit=" KB",
        ),
    ]  # fmt: skip
    if "soak" in api:
        first, *_, last = api["soak"]["bytes"]
        told.append(
            row(
                f"   memory after {api['soak']['minutes']:g} minutes, {api['soak']['messages']:,} messages",
                f"{last >> 20} MiB", baseline=f"{first >> 20} MiB before", ratio=last / first,
                value=last / first, at_most=1.05,
            )
        )  # fmt: skip
    return told
