"""What Prometheus is shown: true, bounded, in its format, and as the documentation says."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import FAMILIES, GONE_SECONDS, PREFIX, Metrics
from api.telemetry import Telemetry
from embedded.store import free_port
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from api.backend import Backend
    from tests.api.conftest import Client, Make, Seed, Served
    from tests.conftest import Processes

pytestmark = pytest.mark.anyio
DOCUMENT = Path(__file__).parents[2] / "docs" / "OBSERVABILITY.md"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(found: Samples, name: str, **labels: str) -> float:
    return found[PREFIX + name, frozenset(labels.items())]


async def scraped(client: Client) -> Samples:
    return samples((await client.http.get("/metrics")).text)


async def test_what_is_asked_is_counted_under_names_of_the_schema(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    for _ in range(3):
        await client.ask('{ mine: portfolioRisk(portfolioId: "p-1") { var95 } }')
    await client.ask("{ firmRisk { var95 } systemStatus { redisConnected } }")
    await client.answer("{ portfolios(first: -1) { totalCount } }")
    await client.answer("{ nothingLikeIt }")
    found = await scraped(client)
    asked = {"kind": "query", "field": "portfolioRisk"}
    assert one(found, "operations_total", **asked, transport="http", outcome="ok") == 3
    assert one(found, "operation_seconds_count", **asked) == 3
    assert one(found, "operation_seconds_bucket", **asked, le="+Inf") == 3
    assert one(found, "operations_total", kind="query", field="several", transport="http", outcome="ok") == 1
    assert one(found, "operations_total", kind="query", field="portfolios", transport="http", outcome="error") == 1
    assert one(found, "operations_total", kind="unknown", field="none", transport="http", outcome="refused") == 1
    assert not [labels for _, labels in found if "nothingLikeIt" in str(labels) or "mine" in str(labels)]


async def test_a_subscription_is_counted_while_it_is_open(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    telemetry: Telemetry = served.app.state.backend.telemetry
    socket = await served.socket()
    operation = await socket.start('subscription { portfolioRisk(portfolioId: "p-1") { reason } }')
    await socket.event()
    assert telemetry.running["portfolioRisk", "graphql-transport-ws"] == 1
    await socket.stop(operation)
    await make.eventually(lambda: telemetry.running["portfolioRisk", "graphql-transport-ws"] == 0)


async def test_requests_are_counted_by_template_and_never_by_path(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    for path in ("/risk/p-1", "/risk/nobody", "/advisor/advisor/portfolios", "/no/such", "/no/such/2"):
        await client.http.get(path)
    await client.http.request("BREW", "/live")
    found = await scraped(client)

    def counted(route: str, status: str, method: str = "GET") -> float:
        return one(found, "requests_total", method=method, route=route, status=status)

    assert counted("/risk/{portfolio_id}", "200") == 1
    assert counted("/risk/{portfolio_id}", "404") == 1
    assert counted("/advisor/{advisor_id}/portfolios", "404") == 1
    assert counted("none", "404") == 2
    assert counted("/live", "405", "other") == 1
    assert one(found, "request_seconds_count", method="GET", route="/risk/{portfolio_id}") == 2


async def test_an_unexpected_error_is_counted_as_one(client: Client, seed: Seed) -> None:
    await seed.redis.set("risk:broken", "not json")
    await client.http.get("/risk/broken")
    found = await scraped(client)
    assert one(found, "requests_total", method="GET", route="/risk/{portfolio_id}", status="500") == 1


async def test_dependencies_are_shown_as_they_were_found(client: Client, seed: Seed) -> None:
    found = await scraped(client)
    assert (one(found, "redis_up"), one(found, "kafka_up"), one(found, "ready")) == (1, 0, 1)
    assert one(found, "heartbeat_age_seconds") != one(found, "heartbeat_age_seconds"), "not NaN"
    await seed.heartbeat()
    await client.app.state.backend.readiness.look()
    assert 0 <= one(await scraped(client), "heartbeat_age_seconds") < 5


async def test_the_process_is_shown_beside_what_it_does(client: Client) -> None:
    assert ("process_cpu_seconds_total", frozenset()) in await scraped(client)


# --- several workers --------------------------------------------------------------------------------------------------


def stand_in(telemetry: Telemetry) -> Backend:
    """As much of a backend as the families are read off."""
    traffic = SimpleNamespace(received=0, conflated=0, gaps=0, refused=0)
    readiness = SimpleNamespace(checks=list, holds=lambda _check: True, heartbeat_age_seconds=1.0)
    parts: dict[str, Any] = {
        "settings": Settings(),
        "business": SimpleNamespace(newest=None, stale=0, result_age_seconds=float("nan")),
        "telemetry": telemetry,
        "fanout": SimpleNamespace(readers=0, traffic=traffic, connected=True),
        "publisher": SimpleNamespace(connected=True),
        "readiness": readiness,
    }
    return cast("Backend", SimpleNamespace(**parts))


async def test_any_worker_shows_what_all_of_them_counted(tmp_path: Path) -> None:
    for worker, messages in (("7", 10), ("8", 20)):
        telemetry = Telemetry()
        telemetry.messages_sent = messages
        with telemetry.operation("query", {"firmRisk"}, "http"):
            pass
        metrics = Metrics(stand_in(telemetry), tmp_path, worker)
        metrics.share()
    text = (await metrics.text()).decode()
    found = samples(text)
    assert (one(found, "messages_sent_total", worker="7"), one(found, "messages_sent_total", worker="8")) == (10, 20)
    labels = {"kind": "query", "field": "firmRisk", "transport": "http", "outcome": "ok"}
    assert one(found, "operations_total", worker="7", **labels) == 1
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(names) == len(set(names))


async def test_a_worker_that_is_gone_is_not_shown_any_more(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    Metrics(stand_in(Telemetry()), tmp_path, "7").share()
    os.utime(tmp_path / "7", (now, now))
    other = Metrics(stand_in(Telemetry()), tmp_path, "8", wall=lambda: now + GONE_SECONDS + 1)
    shown = (await other.text()).decode()
    assert 'worker="8"' in shown
    assert 'worker="7"' not in shown


async def test_two_workers_behind_one_port_are_both_seen(processes: Processes, redis_url: str) -> None:
    port = free_port()
    environ = {"REDIS_URL": redis_url, "KAFKA_BROKERS": "127.0.0.1:1"}
    child = processes.python("-m", "api", "--port", str(port), "--workers", "2", environ=environ)

    def both() -> bool:
        try:
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        except httpx.TransportError:
            return False
        return len({labels for name, labels in samples(text) if name == f"{PREFIX}ready"}) == 2

    await asyncio.to_thread(processes.wait_for, both, "both workers", 30)
    assert child.exit_code() is None


# --- the documentation ------------------------------------------------------------------------------------------------


def test_the_table_in_the_document_is_the_one_in_the_code() -> None:
    rows = [
        f"| `{PREFIX}{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {each.about} |"
        for each in FAMILIES
    ]
    table = "\n".join(["| name | kind | labels | |", "| --- | --- | --- | --- |", *rows])
    found = re.search(r"<!-- metrics -->\n(.*?)\n<!-- end of metrics -->", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == table


def test_every_alert_asks_for_metrics_that_there_are() -> None:
    text = DOCUMENT.read_text("utf-8")
    known = {PREFIX + family.name + end for family in FAMILIES for end in ("", "_bucket", "_count", "_sum")}
    asked = set(re.findall(rf"\b{PREFIX}\w+", text))
    assert len(asked) >= len(FAMILIES)
    assert asked <= known
