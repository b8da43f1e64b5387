"""A thousand sockets on a thousand portfolios, where nothing is shared; and what stalled clients do to the others.

Each message carries the portfolios of one advisor, as the engine's do. The server, and what stands around it, are those
of `benchmarks.fanout`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fanout import SOCKETS, crowd, delivered, serving
from benchmarks.measuring import progress
from benchmarks.report import Row, row

ADVISORS, PORTFOLIOS = 40, 25
EVENTS_PER_SECOND = 2_000.0
SATURATING_PER_SECOND = {"api": 32_000.0, "stock": 8_000.0, "raw": 32_000.0}
READERS, STALLED = 200, 50
STALLED_SECONDS = 14.0
STALLING_PER_SECOND = 60.0
"""Events a second: what a stalled client has to be sent until its buffers are full."""


class Figures(NamedTuple):
    """What the crowd saw."""

    api: dict[str, Any]
    stock: dict[str, Any]
    raw: dict[str, Any]
    stalled: dict[str, Any]


def measure(seconds: float, directory: Path | None) -> Figures:
    """The three servers in turn; then the API with stalled clients."""
    portfolios = [[f"portfolio-{a}-{n}" for n in range(PORTFOLIOS)] for a in range(ADVISORS)]
    seen = {}
    for kind in ("api", "stock", "raw"):
        progress(f"{SOCKETS:,} sockets on as many portfolios: {kind}")
        with serving(kind, portfolios, directory) as server:
            seen[kind] = crowd(
                server,
                sockets=SOCKETS,
                portfolios=portfolios,
                events_per_second=EVENTS_PER_SECOND / PORTFOLIOS,
                saturating_per_second=SATURATING_PER_SECOND[kind] / PORTFOLIOS,
                seconds=seconds,
                speaks_graphql=kind != "raw",
            )
    progress("stalled clients")
    with serving("api", [["portfolio-1"]], directory) as server:
        stalled = crowd(
            server,
            sockets=READERS,
            portfolios=[["portfolio-1"]],
            events_per_second=STALLING_PER_SECOND,
            saturating_per_second=0.0,
            seconds=seconds,
            stalled=STALLED,
            stalled_seconds=STALLED_SECONDS,
        )
    progress("")
    return Figures(**seen, stalled=stalled["stalled"])


def rows(figures: Figures) -> list[Row]:
    """The claims about sockets."""
    api, stock, raw = figures.api, figures.stock, figures.raw
    steady, full, stalled = api["steady"], api["saturated"], figures.stalled
    closed = stalled["codes"].get("4108", 0)
    before, meanwhile = stalled["before"]["p99_ms"], stalled["meanwhile"]["p99_ms"]
    return [
        delivered(f"{SOCKETS:,} sockets on as many portfolios, saturated", 25_000, api, stock, raw),
        row(
            "   server's CPU for an event, saturated", f"{full['cpu_us']:.1f} µs",
            baseline=f"stock {stock['saturated']['cpu_us']:.1f} µs, raw {raw['saturated']['cpu_us']:.1f} µs",
            ratio=full["cpu_us"] / stock["saturated"]["cpu_us"],
        ),
        row(
            f"   at {steady['per_second']:,.0f} events/s, published → received, p50 / p99",
            f"{steady['p50_ms']:.1f} / {steady['p99_ms']:.1f} ms",
            baseline="stock {p50_ms:.1f} / {p99_ms:.1f} ms, ".format(**stock["steady"])
            + "raw {p50_ms:.1f} / {p99_ms:.1f} ms".format(**raw["steady"]),
        ),
        row("   memory for a socket and its stream", f"{api['bytes_per_socket'] / 1000:.1f} KB",
            baseline=f"stock {stock['bytes_per_socket'] / 1000:.1f} KB, raw {raw['bytes_per_socket'] / 1000:.1f} KB"),
        row(
            f"{STALLED} of {READERS} stop reading: closed as too slow within {STALLED_SECONDS:g} s", f"{closed}",
            value=STALLED - closed, at_most=0, unit=" left open",
        ),
        row("   the others' p99", f"{meanwhile:.1f} ms", baseline=f"{before:.1f} ms before", ratio=meanwhile / before),
        row(
            f"   SIGTERM → the end of the process, {STALLED} stalled again", f"{stalled['stop_seconds']:.1f} s",
            value=stalled["stop_seconds"], at_most=10.0, unit=" s",
        ),
    ]  # fmt: skip
