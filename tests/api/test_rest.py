from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from plimsoll.messages import RiskBatch

if TYPE_CHECKING:
    from tests.api.conftest import Client, Make, Seed, Served

pytestmark = pytest.mark.anyio


async def fill(seed: Seed, make: Make) -> None:
    for number in range(1, 10):
        await seed.write(make.snapshot(f"p-{number}", f"advisor-{number % 2}", risk_number=number * 10))


async def test_the_risk_of_a_portfolio_as_older_clients_know_it(client: Client, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    response = await client.http.get("/risk/p-1")
    body = response.json()
    assert response.status_code == 200
    assert list(body)[:10] == [
        "portfolio_id",
        "advisor_id",
        "risk_number",
        "var_95",
        "expected_return",
        "volatility",
        "sharpe_ratio",
        "calculation_time_ms",
        "timestamp",
        "last_update",
    ]
    assert body["timestamp"] == 1_700_000_000.25
    assert body["last_update"] == "2023-11-14T22:13:20.250000Z"
    assert body["stale"] is True
    assert body["es_975"] == 1_450.0
    assert (body["long_exposure"], body["short_exposure"], body["risk_number_structural"]) == (51_243.75, 0.0, 44)
    assert (body["sortino_ratio"], body["tracking_error"]) == (0.6, 0.05)


def refusal(response: httpx.Response, status: int) -> str:
    assert response.status_code == status
    body = response.json()
    assert set(body) == {"error", "detail", "timestamp"}
    return body["detail"]


async def test_errors_have_one_shape(client: Client) -> None:
    assert "nobody" in refusal(await client.http.get("/risk/nobody"), 404)
    assert "nobody" in refusal(await client.http.get("/advisor/nobody/portfolios"), 404)
    assert "portfolio_id" in refusal(await client.http.get("/risk/a%20b"), 422)
    assert "risk_threshold" in refusal(await client.http.get("/portfolios/at-risk?risk_threshold=0"), 422)
    assert "risk_threshold" in refusal(await client.http.get("/portfolios/at-risk?risk_threshold=much"), 422)
    assert "portfolio_id" in refusal(await client.http.post("/simulate/portfolio-update"), 422)
    assert "risk_tolerance" in refusal(
        await client.http.post("/simulate/portfolio?portfolio_id=p&risk_tolerance=Reckless"), 422
    )
    refusal(await client.http.get("/no/such/route"), 404)
    refusal(await client.http.get("/stream/risk-updates?portfolio_id=nobody"), 404)
    wrong = await client.http.delete("/risk/p-1")
    refusal(wrong, 405)
    assert "GET" in wrong.headers["allow"]


async def test_an_unexpected_error_says_nothing_of_itself(client: Client, seed: Seed) -> None:
    await seed.redis.set("risk:broken", "not json")
    response = await client.http.get("/risk/broken")
    # What Redis holds is ours: that it cannot be read is no fault of the caller.
    assert "not json" not in refusal(response, 500)


async def test_those_at_risk_are_ids_in_order_of_risk(client: Client, seed: Seed, make: Make) -> None:
    await fill(seed, make)
    assert (await client.http.get("/portfolios/at-risk")).json() == ["p-9", "p-8", "p-7"]
    assert (await client.http.get("/portfolios/at-risk?risk_threshold=90")).json() == ["p-9"]


async def test_an_advisor_has_a_list_of_portfolios(client: Client, seed: Seed, make: Make) -> None:
    await fill(seed, make)
    body = (await client.http.get("/advisor/advisor-0/portfolios")).json()
    assert [each["portfolio_id"] for each in body] == ["p-8", "p-6", "p-4", "p-2"]
    assert body[0] == {
        "portfolio_id": "p-8",
        "last_update": "2023-11-14T22:13:20.250000Z",
        "total_calculations": 7,
        "current_risk_number": 80,
        "average_calculation_time_ms": 0.03,
    }


async def test_the_summary_and_the_health_as_older_clients_know_them(client: Client, seed: Seed, make: Make) -> None:
    await fill(seed, make)
    await seed.heartbeat(calculations=1_000, average_calculation_time_ms=0.5)
    assert (await client.http.get("/metrics/summary")).json() == {
        "total_portfolios": 9,
        "avg_risk_number": 50.0,
        "total_value_at_risk": 9_000.0,
        "high_risk_count": 3,
        "risk_distribution": {"low": 2, "moderate": 4, "high": 3},
    }
    health = (await client.http.get("/health")).json()
    assert health.pop("uptime_seconds") >= 0
    assert health == {
        "status": "degraded",  # Kafka is nowhere in this test
        "total_calculations": 1_000,
        "avg_calculation_time_ms": 0.5,
        "redis_connected": True,
        "kafka_connected": False,
        "active_portfolios": 9,
        "stale": False,
    }


async def test_an_empty_store_is_summed_up_as_nothing(client: Client) -> None:
    summary = (await client.http.get("/metrics/summary")).json()
    assert (summary["total_portfolios"], summary["avg_risk_number"]) == (0, 0.0)


async def test_probes_and_metrics(client: Client, seed: Seed, make: Make) -> None:
    await seed.heartbeat()
    assert (await client.http.get("/live")).json() == {"status": "alive"}
    assert (await client.http.get("/ready")).status_code == 200
    text = (await client.http.get("/metrics")).text
    assert 'plimsoll_api_requests_total{method="GET",route="/live",status="200"} 1' in text
    assert "plimsoll_api_redis_up 1" in text
    assert "plimsoll_api_kafka_up 0" in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


async def test_the_front_door_says_where_to_look(client: Client) -> None:
    links = (await client.http.get("/")).json()
    for path in (links["docs"], links["openapi"], links["health"]):
        assert (await client.http.get(path)).status_code == 200


async def test_the_document_names_every_route_and_the_page_asks_no_other_host(client: Client) -> None:
    spec = (await client.http.get("/openapi.json")).json()
    assert spec["openapi"] == "3.1.0"
    assert {"/risk/{portfolio_id}", "/portfolio/simulate", "/stream/risk-updates"} <= spec["paths"].keys()
    threshold = spec["paths"]["/portfolios/at-risk"]["get"]["parameters"][0]
    assert threshold["schema"] == {"type": "integer", "minimum": 1, "maximum": 99, "default": 70}
    operation_ids = [each["operationId"] for path in spec["paths"].values() for each in path.values()]
    assert len(operation_ids) == len(set(operation_ids))
    references = json.dumps(spec).split('"#/components/schemas/')[1:]
    assert {each.split('"')[0] for each in references} <= spec["components"]["schemas"].keys()

    page = (await client.http.get("/docs")).text
    assert all(path in page for path in spec["paths"])
    assert "src=" not in page
    assert "//" not in page.replace("http://plimsoll.localhost/", "")


async def test_the_document_is_openapi(client: Client) -> None:
    spec = (await client.http.get("/openapi.json")).json()
    OpenAPIV31SpecValidator(spec).validate()
    assert {"403", "409", "413", "415", "421", "422", "429", "500", "503"} <= set(
        spec["paths"]["/portfolio/update"]["post"]["responses"]
    )


async def test_a_form_is_no_body(client: Client) -> None:
    response = await client.http.post("/portfolio/update", data={"portfolio": "{}"})
    assert "application/json" in refusal(response, 415)


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ({"positions": [{"symbol": "A", "quantity": 1}] * 2}, "held twice"),
        ({"positions": [], "timestamp": 4_102_444_800}, "ahead of our clock"),
    ],
)
async def test_what_reads_well_and_cannot_stand_is_a_conflict(
    client: Client, stated: dict[str, Any], named: str
) -> None:
    body = {"portfolio": {"id": "p-1", "advisor_id": "a", **stated}}
    assert named in refusal(await client.http.post("/portfolio/update", json=body), 409)


async def test_a_whole_number_is_one_however_json_writes_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"portfolio": {"id": "p-1", "advisor_id": "a", "positions": [], "version": 651.5}}
    assert "version" in refusal(await client.http.post("/portfolio/update", json=body), 422)
    body["portfolio"]["version"] = 651.0
    # Kafka is nowhere in this test, so what was read is not published, and nobody waits for it.
    monkeypatch.setattr("api.publisher.ACKNOWLEDGED_WITHIN_SECONDS", 0.1)
    assert "Kafka" in refusal(await client.http.post("/portfolio/update", json=body), 503)


async def test_the_head_of_a_stream_is_no_stream(client: Client) -> None:
    response = await client.http.head("/stream/risk-updates")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")


async def lines(response: httpx.Response) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        yield line


async def event(stream: AsyncIterator[str]) -> dict[str, Any]:
    async for line in stream:
        if line.startswith("data: "):
            return json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("query", ["", "?portfolio_id=p-1", "?advisor_id=advisor-1"])
async def test_the_stream_tells_the_present_first_and_then_what_changes(
    served: Served, seed: Seed, make: Make, query: str
) -> None:
    await seed.write(make.snapshot(sequence="1"))
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=10) as http,
        http.stream("GET", f"/stream/risk-updates{query}") as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = lines(response)
        first = await event(stream)
        assert (first["reason"], first["portfolio_id"], first["sequence"]) == ("SNAPSHOT", "p-1", "1")
        await seed.tell("advisor-1", RiskBatch([make.snapshot(sequence="2")]))
        second = await event(stream)
        assert (second["reason"], second["previous_sequence"], second["sequence"]) == ("UPDATE", "1", "2")
    fanout = served.app.state.backend.fanout
    await make.eventually(lambda: fanout.readers == 0)


async def test_a_quiet_stream_is_kept_open_by_comments(
    served: Served, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.event_streams.BEAT_SECONDS", 0.05)
    await seed.write(make.snapshot())
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=10) as http,
        http.stream("GET", "/stream/risk-updates?portfolio_id=p-1") as response,
    ):
        stream = lines(response)
        await event(stream)
        async with asyncio.timeout(10):
            async for line in stream:
                if line == ": ping":
                    break


async def test_the_stream_of_a_closed_portfolio_ends(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=10) as http,
        http.stream("GET", "/stream/risk-updates?portfolio_id=p-1") as response,
    ):
        stream = lines(response)
        await event(stream)
        await seed.close("p-1", "advisor-1")
        assert (await event(stream))["reason"] == "CLOSED"
        assert [line async for line in stream if line] == []
