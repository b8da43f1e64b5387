"""The dashboard in a real browser: 10,000 rows of which 2,000 change a second, beside the same page where none does.

Chromium renders as it would for a person, 60 frames a second, without a screen. Counted are the pauses between its
frames and how long its main thread was busy, as its own instruments say. Then as many dashboards as a desk has, each a
socket that asks for what the page asks for: does one of them fall behind, and what does it cost the API?
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.fanout import Server, serving
from benchmarks.measuring import Stuck, cpu_seconds, progress, wait_for
from benchmarks.report import Row, row
from benchmarks.servers import ROOT, python
from plimsoll.errors import Unavailable

PORTFOLIOS, ADVISORS = 10_000, 40
RATE = 2_000.0
DASHBOARDS = 20
WARM_SECONDS = 3.0
FRAME_MS_MAX = 20.0
BUSY_MAX = 0.25
PAGE_KB_MAX = 80.0
OPERATIONS = ROOT / "dashboard" / "src" / "operations"

_FRAMES = """milliseconds => new Promise(resolve => {
    const pauses = []; let last = performance.now(); const end = last + milliseconds
    const frame = now => {
        pauses.push(now - last); last = now
        if (now < end) requestAnimationFrame(frame); else resolve(pauses.slice(1))
    }
    requestAnimationFrame(frame)
})"""
_UPDATES = "() => document.querySelector('plimsoll-app').model.book.updates"
_ROWS = "() => document.querySelector('plimsoll-app').model.book.rows.size"


class Browsed(NamedTuple):
    """One page, watched for a while."""

    frame_p50_ms: float
    frame_p99_ms: float
    busy: float
    """Share of the main thread."""
    updates_per_second: float
    page_kb: float
    """What was transferred until the rows were there, without the rows."""
    heap_mb: float


class Followed(NamedTuple):
    """So many dashboards on one API process."""

    dashboards: int
    rows_per_second: float
    """What the one that was told least was told."""
    lag_p50_ms: float
    lag_p99_ms: float
    """From a calculation to its arrival, of the row that waited longest in each batch."""
    server_cores: float


class Figures(NamedTuple):
    """At rest and moving; one dashboard and many."""

    rest: Browsed
    moving: Browsed
    one: Followed
    many: Followed


def measure(seconds: float, directory: Path | None) -> Figures:
    """Every figure in turn. Raises `Unavailable` where there are no pages, no Chromium or no Playwright."""
    program = chromium()
    progress("the dashboard at rest")
    with _market(0.0, directory) as server:
        rest = _browse(program, server.url, seconds)
    with _market(RATE, directory) as server:
        progress(f"the dashboard at {RATE:,.0f} changes a second")
        moving = _browse(program, server.url, seconds)
        followed = []
        for dashboards in (1, DASHBOARDS):
            progress(f"{dashboards} dashboards")
            followed.append(asyncio.run(_follow(server, dashboards, seconds)))
    progress("")
    return Figures(rest, moving, *followed)


def chromium() -> str:
    """Where the browser is. Raises `Unavailable`."""
    if importlib.util.find_spec("plimsoll_web") is None:
        raise Unavailable("the dashboard", "this install has no web pages: uv sync --reinstall-package plimsoll")
    if importlib.util.find_spec("playwright") is None:
        raise Unavailable("Playwright", "it comes with the development dependencies: uv sync")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise Unavailable("Chromium", "none is on the PATH; Debian's package is called chromium")
    return found


@contextlib.contextmanager
def _market(rate: float, directory: Path | None) -> Iterator[Server]:
    with serving("api", [], directory) as server:
        log = server.directory / "moving.log"
        arguments = (server.redis_url, str(PORTFOLIOS), str(ADVISORS), str(rate))
        child = python("benchmarks.moving", *arguments, environ={}, log=log)
        try:
            wait_for(lambda: "filled" in log.read_text(encoding="utf-8"), "portfolios", 60.0)
            yield server
        finally:
            child.stop(5.0)


# --- in the browser ---------------------------------------------------------------------------------------------------


def _browse(program: str, url: str, seconds: float) -> Browsed:
    # Imported here: Playwright is a development dependency, and the catalogue names every benchmark.
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.set_default_timeout(120_000)
            instruments = page.context.new_cdp_session(page)
            instruments.send("Performance.enable")
            weight = _Weight(instruments)
            page.goto(url)
            # Asked again and again from here: the page's own policy lets nothing be evaluated inside it.
            wait_for(lambda: page.evaluate(_ROWS) == PORTFOLIOS, "row of every portfolio", 120.0)
            page.wait_for_timeout(WARM_SECONDS * 1000)
            before, updates, began = _metrics(instruments), page.evaluate(_UPDATES), time.monotonic()
            pauses = page.evaluate(_FRAMES, seconds * 1000)
            took = time.monotonic() - began
            after = _metrics(instruments)
            p50, p99 = np.percentile(pauses, [50, 99])
            return Browsed(
                frame_p50_ms=float(p50),
                frame_p99_ms=float(p99),
                busy=(after["TaskDuration"] - before["TaskDuration"]) / (after["Timestamp"] - before["Timestamp"]),
                updates_per_second=(page.evaluate(_UPDATES) - updates) / took,
                page_kb=weight.bytes / 1000,
                heap_mb=after["JSHeapUsedSize"] / 1e6,
            )
        finally:
            browser.close()


class _Weight:
    """Bytes as they were transferred, of the page and its assets."""

    def __init__(self, instruments: Any) -> None:  # noqa: ANN401 - Playwright's CDPSession
        self.bytes = 0.0
        self._assets: set[str] = set()
        instruments.on("Network.responseReceived", self._received)
        instruments.on("Network.loadingFinished", self._finished)
        instruments.send("Network.enable")

    def _received(self, told: dict[str, Any]) -> None:
        if not told["response"]["url"].endswith("/graphql"):
            self._assets.add(told["requestId"])

    def _finished(self, told: dict[str, Any]) -> None:
        if told["requestId"] in self._assets:
            self.bytes += told["encodedDataLength"]


def _metrics(instruments: Any) -> dict[str, float]:  # noqa: ANN401
    told = instruments.send("Performance.getMetrics")["metrics"]
    return {each["name"]: each["value"] for each in told}


# --- many of them -----------------------------------------------------------------------------------------------------


class _Row(msgspec.Struct, rename="camel"):
    calculated_at: str


class _Batch(msgspec.Struct):
    risks: list[_Row]


class _Data(msgspec.Struct, rename="camel"):
    risk_batches: _Batch


class _Payload(msgspec.Struct):
    data: _Data


class _Next(msgspec.Struct):
    payload: _Payload


async def _follow(server: Server, dashboards: int, seconds: float) -> Followed:
    """Open so many at once, and let each read the list and follow; then count for so long."""
    told: list[list[tuple[int, float]]] = [[] for _ in range(dashboards)]
    opened = [asyncio.create_task(_dashboard(server.url, each)) for each in told]
    try:
        await _until_read(opened, told)
        for each in told:
            each.clear()
        cpu, began = cpu_seconds([server.child.pid]), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        cores = (cpu_seconds([server.child.pid]) - cpu) / took
    finally:
        for task in opened:
            task.cancel()
        await asyncio.gather(*opened, return_exceptions=True)
    p50, p99 = np.percentile([lag for each in told for _, lag in each], [50, 99])
    return Followed(dashboards, min(sum(rows for rows, _ in each) for each in told) / took, p50, p99, cores)


async def _until_read(opened: list[asyncio.Task[None]], told: list[list[tuple[int, float]]]) -> None:
    deadline = time.monotonic() + 60.0
    while not all(len(each) > 4 for each in told):
        for task in opened:
            if task.done():
                task.result()
        if time.monotonic() > deadline:
            raise Stuck("not every dashboard was told of changes within a minute")
        await asyncio.sleep(0.05)


async def _dashboard(url: str, told: list[tuple[int, float]]) -> None:
    """What the page does: follow, read the list in pages, and take every batch apart."""
    decoder = msgspec.json.Decoder(_Next)
    address = url.replace("http", "ws", 1) + "/graphql"
    async with connect(address, subprotocols=["graphql-transport-ws"], max_size=None) as socket:  # type: ignore[list-item]
        await socket.send('{"type":"connection_init"}')
        await socket.recv()
        asked = {"id": "1", "type": "subscribe", "payload": {"query": operation("batches", "rows")}}
        await socket.send(msgspec.json.encode(asked).decode())
        reading = asyncio.create_task(_read_list(url))
        try:
            await _take(socket, decoder, told)
        finally:
            reading.cancel()


async def _take(socket: ClientConnection, decoder: msgspec.json.Decoder[_Next], told: list[tuple[int, float]]) -> None:
    async for message in socket:
        now = time.time()
        if '"next"' not in str(message[:60]):
            await socket.send('{"type":"pong"}')
            continue
        rows = decoder.decode(message).payload.data.risk_batches.risks
        if rows:
            oldest = np.datetime64(min(each.calculated_at for each in rows).removesuffix("+00:00"), "us")
            told.append((len(rows), 1000.0 * (now - oldest.astype(np.int64) / 1e6)))


async def _read_list(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60.0) as client:
        after: str | None = None
        while True:
            variables = {"first": 200, "after": after}
            asked = {"query": operation("rows"), "operationName": "RowsPage", "variables": variables}
            page = (await client.post("/graphql", json=asked)).json()["data"]["portfolios"]["pageInfo"]
            if not page["hasNextPage"]:
                return
            after = page["endCursor"]


def operation(*names: str) -> str:
    """An operation as the page sends it: its own text, with the fragment of a row."""
    source = "\n".join((OPERATIONS / f"{name}.graphql").read_text(encoding="utf-8") for name in names)
    if names == ("batches", "rows"):
        return source.partition("query RowsPage")[0]
    return source


def rows(figures: Figures) -> list[Row]:
    """The claims about the dashboard."""
    rest, moving, one, many = figures
    return [
        row(
            f"dashboard, {PORTFOLIOS:,} rows, {moving.updates_per_second:,.0f} changes/s: frame p50 / p99",
            f"{moving.frame_p50_ms:.1f} / {moving.frame_p99_ms:.1f} ms",
            baseline=f"at rest {rest.frame_p50_ms:.1f} / {rest.frame_p99_ms:.1f} ms",
            value=moving.frame_p99_ms, at_most=FRAME_MS_MAX, unit=" ms",
        ),
        row(
            "   share of the browser's main thread", f"{moving.busy:.1%}", baseline=f"at rest {rest.busy:.1%}",
            value=moving.busy, at_most=BUSY_MAX,
        ),
        row(
            "   transferred until the rows are read, without them", f"{moving.page_kb:.1f} KB",
            value=moving.page_kb, at_most=PAGE_KB_MAX, unit=" KB",
        ),
        row("   its heap", f"{moving.heap_mb:.0f} MB", baseline=f"at rest {rest.heap_mb:.0f} MB"),
        row(
            f"{many.dashboards} dashboards on one API process: rows/s of the one told least",
            f"{many.rows_per_second:,.0f}/s", baseline=f"one alone {one.rows_per_second:,.0f}/s",
            ratio=many.rows_per_second / one.rows_per_second, at_least=0.95,
        ),
        row(
            "   calculation → arrival of a batch's oldest row, p50 / p99",
            f"{many.lag_p50_ms:.0f} / {many.lag_p99_ms:.0f} ms",
            baseline=f"one alone {one.lag_p50_ms:.0f} / {one.lag_p99_ms:.0f} ms",
        ),
        row("   the API's share of a core", f"{many.server_cores:.2f}", baseline=f"one alone {one.server_cores:.2f}"),
    ]  # fmt: skip
