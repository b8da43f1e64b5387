"""GraphQL over HTTP as clients and browsers speak it: forms, statuses, methods, batches and streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api.app import create_app
from api.negotiation import EVENT_STREAM, GRAPHQL_JSON, JSON, MULTIPART, accepted
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Client, Make, Seed, Served

pytestmark = pytest.mark.anyio

TYPENAME = {"query": "{ __typename }"}
SUBSCRIPTION = 'subscription { portfolioRisk(portfolioId: "p-1") { reason risk { sequence } } }'
URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)
APOLLO = (
    'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9'
)


NOTHING_BEHIND = Settings(redis_url="redis://127.0.0.1:1/0", kafka_brokers="127.0.0.1:1")


@asynccontextmanager
async def opened(settings: Settings, **changed: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The application in this process."""
    app = create_app(replace(settings, **changed))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield http


@pytest.fixture
async def door() -> AsyncIterator[httpx.AsyncClient]:
    """The application with nothing behind it: what it refuses, it refuses without Redis and Kafka."""
    async with opened(NOTHING_BEHIND) as http:
        yield http


def refusal(response: httpx.Response, status: int, code: str) -> str:
    """The message of an answer that is one error."""
    assert response.status_code == status, response.text
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == code
    assert "data" not in response.json()
    return str(error["message"])


# --- forms of an answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "form", "stream"),
    [
        (None, JSON, None),
        ("", JSON, None),
        ("*/*", JSON, None),
        ("application/*", JSON, None),
        ("text/html, */*;q=0.8", JSON, None),
        (f"{GRAPHQL_JSON}, {JSON}", GRAPHQL_JSON, None),
        (f"{JSON}, {GRAPHQL_JSON}", JSON, None),
        (f"{JSON};q=0.5, {GRAPHQL_JSON};q=0.9", GRAPHQL_JSON, None),
        (f"{GRAPHQL_JSON};q=0.1, */*", JSON, None),
        (f"{JSON};q=0, */*", GRAPHQL_JSON, None),
        (f"{GRAPHQL_JSON}; charset=utf-8", GRAPHQL_JSON, None),
        (GRAPHQL_JSON.upper(), GRAPHQL_JSON, None),
        (URQL, GRAPHQL_JSON, EVENT_STREAM),
        (APOLLO, GRAPHQL_JSON, MULTIPART),
        (EVENT_STREAM, None, EVENT_STREAM),
        ("text/html", None, None),
        (f"{JSON};q=0", None, None),
        (f"{JSON};q=two", None, None),
        (f"{JSON};q=nan", None, None),
    ],
)
def test_an_answer_takes_the_form_that_is_wanted_most(accept: str | None, form: str | None, stream: str | None) -> None:
    assert accepted(None if accept is None else accept.encode()) == (form, stream)


async def test_where_no_form_fits_the_client_is_told_which_there_are(door: httpx.AsyncClient) -> None:
    response = await door.post("/graphql", json=TYPENAME, headers={"accept": "image/png"})
    assert JSON in refusal(response, 406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize("query", ["{", "{ nobodyKnows }", "query($id: ID!) { portfolio(id: $id) { id } }"])
async def test_a_document_that_is_refused_is_a_400_only_to_those_who_read_the_newer_form(
    client: Client, query: str
) -> None:
    for form, status in ((GRAPHQL_JSON, 400), (JSON, 200)):
        response = await client.http.post("/graphql", json={"query": query}, headers={"accept": form})
        assert response.status_code == status
        assert response.headers["content-type"] == f"{form}; charset=utf-8"
        assert response.headers["vary"] == "Accept"
        assert "data" not in response.json()


@pytest.mark.parametrize(
    ("query", "code"), [("{", "GRAPHQL_PARSE_FAILED"), ("{ nobodyKnows }", "GRAPHQL_VALIDATION_FAILED")]
)
async def test_a_refused_document_says_of_which_kind_its_fault_is(client: Client, query: str, code: str) -> None:
    refusal(await client.http.post("/graphql", json={"query": query}), 200, code)


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "read"),
    [
        (None, False),
        ("application/json", True),
        ("Application/JSON ; charset=UTF-8", True),
        ('application/json; charset="utf-8"', True),
        ("application/json; charset=iso-8859-1", False),
        ("application/graphql-response+json", False),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
    ],
)
async def test_only_json_in_utf_8_is_read(door: httpx.AsyncClient, content_type: str | None, *, read: bool) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await door.post("/graphql", content="{}", headers=headers)
    if read:
        assert "query: is missing" in refusal(response, 400, "BAD_REQUEST")
    else:
        assert "UTF-8" in refusal(response, 415, "UNSUPPORTED_MEDIA_TYPE") or response.headers["accept"] == JSON


WRONG = [
    ("", "cannot be read"),
    ("{", "cannot be read"),
    ("1", "must be a JSON object"),
    ("null", "must be a JSON object"),
    ("{}", "query: is missing"),
    ('{"query": 1}', "query: must be a string, not a number"),
    ('{"query": "{a}", "variables": []}', "variables: must be an object, not a list"),
    ('{"query": "{a}", "operationName": true}', "operationName: must be a string, not a boolean"),
    ('{"query": "{a}", "extensions": "x"}', "extensions: must be an object, not a string"),
    ('{"query": "{a}", "extensions": {"persistedQuery": 1}}', "extensions.persistedQuery: must be an object"),
    ('{"query": "{a}", "extensions": {"persistedQuery": {"version": 2}}}', "only version 1"),
    ('{"query": "{a}", "extensions": {"persistedQuery": {"sha256Hash": 5}}}', "sha256Hash"),
    ('{"documentId": 5}', "documentId: must be a string"),
    ('{"query": "{a}", "query": "{b}"}', "'query' is there twice"),
    ('{"query": "{a}", "variables": {"x": {"y": 1, "y": 2}}}', "'y' is there twice"),
    ('{"query": "{a}", "variables": {"x": NaN}}', "cannot be read"),
    ('{"query": "{a}", "variables": {"x": 1e400}}', "out of range"),
    (f'{{"query": "{{a}}", "variables": {{"x": {"9" * 5_000}}}}}', "out of range"),
    ('{"query": "{a}", "variables": {"x": "\\ud800"}}', "cannot be read"),
    ("\ufeff" + json.dumps(TYPENAME), "cannot be read"),
    ("[" * 100_000, "cannot be read"),
    ('{"query": "{a}", "variables": {"x": [' + "{}," * 20_001 + "{}]}}", "objects"),
]


@pytest.mark.parametrize(("body", "reason"), WRONG, ids=[body[:60] for body, _ in WRONG])
async def test_a_body_that_is_no_request_is_refused_for_its_reason(
    door: httpx.AsyncClient, body: str, reason: str
) -> None:
    response = await door.post("/graphql", content=body.encode(), headers={"content-type": JSON})
    assert response.status_code == 400
    assert reason in response.json()["errors"][0]["message"]


async def test_bytes_that_are_no_text_are_refused_wherever_they_are(door: httpx.AsyncClient) -> None:
    for body in (b'{"query": "{ __typename \xff }"}', b'{"query": "{ __typename }", "ignored": "\xff"}'):
        response = await door.post("/graphql", content=body, headers={"content-type": JSON})
        assert "utf-8" in refusal(response, 400, "BAD_REQUEST")


async def test_a_document_beyond_its_size_is_refused_before_it_is_read(door: httpx.AsyncClient) -> None:
    response = await door.post("/graphql", json={"query": "{ __typename }" + " " * 65_536})
    assert "variables" in refusal(response, 400, "DOCUMENT_TOO_LARGE")


async def test_what_is_null_is_left_out(client: Client) -> None:
    body = TYPENAME | {"variables": None, "operationName": None, "extensions": None}
    assert (await client.http.post("/graphql", json=body)).json() == {"data": {"__typename": "Query"}}


# --- methods ----------------------------------------------------------------------------------------------------------


async def test_a_query_may_be_asked_by_get_and_head(client: Client) -> None:
    params = {"query": "query Q($n: String!) { __type(name: $n) { name } }", "variables": '{"n": "Query"}'}
    response = await client.http.get("/graphql", params=params | {"operationName": "Q"})
    assert response.json() == {"data": {"__type": {"name": "Query"}}}
    assert (await client.http.head("/graphql", params=params)).status_code == 200


async def test_a_mutation_is_not_carried_out_by_get(door: httpx.AsyncClient) -> None:
    response = await door.get("/graphql", params={"query": "mutation { __typename }"})
    assert "POST" in refusal(response, 405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
async def test_another_method_is_told_those_there_are(door: httpx.AsyncClient, method: str) -> None:
    response = await door.request(method, "/graphql", json=TYPENAME)
    refusal(response, 405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == (await door.options("/graphql")).headers["allow"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "variables=%7B%7D",
        "query=%ff",
        "query={a}&query={b}",
        "query={a}&variables=[]",
        "query={a}&variables={",
        "query={a}&variables=" + "9" * 5_000,
        "&".join(f"p{n}=1" for n in range(17)),
    ],
)
async def test_parameters_that_are_no_request_are_refused(door: httpx.AsyncClient, query: str) -> None:
    refusal(await door.get(f"/graphql?{query}"), 400, "BAD_REQUEST")


# --- batches ----------------------------------------------------------------------------------------------------------


async def test_a_batch_is_answered_in_its_order_and_each_for_itself(client: Client) -> None:
    batch: list[Any] = [
        {"query": "{ one: __typename }"},
        {"query": "{ nobodyKnows }"},
        {"query": SUBSCRIPTION},
        "no request",
        {"query": "{ two: __typename }"},
    ]
    response = await client.http.post("/graphql", json=batch)
    first, unknown, subscription, none, last = response.json()
    assert (first, last) == ({"data": {"one": "Query"}}, {"data": {"two": "Query"}})
    assert unknown["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert subscription["errors"][0]["extensions"]["code"] == "SUBSCRIPTION_IN_BATCH"
    assert none["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("size", [0, 11])
async def test_a_batch_has_its_limits_and_says_them(door: httpx.AsyncClient, size: int) -> None:
    assert "1 to 10" in refusal(await door.post("/graphql", json=[TYPENAME] * size), 400, "BAD_BATCH")


# --- streams ----------------------------------------------------------------------------------------------------------


async def sse(response: httpx.Response, until: int) -> list[tuple[str, str]]:
    """The first events of a stream: kind and data."""
    events, kind = [], ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data:"):
            events.append((kind, line.removeprefix("data:").strip()))
            if len(events) == until:
                break
    return events


async def test_a_subscription_is_told_as_events_until_its_end(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=10) as http,
        http.stream("POST", "/graphql", json={"query": SUBSCRIPTION}, headers={"accept": URQL}) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        telling = asyncio.create_task(sse(response, until=3))
        await make.eventually(lambda: served.app.state.backend.fanout.readers == 1)
        await seed.close("p-1", "advisor-1")
        told = await telling
    assert [kind for kind, _ in told] == ["next", "next", "complete"]
    reasons = [json.loads(data)["data"]["portfolioRisk"]["reason"] for kind, data in told if kind == "next"]
    assert reasons == ["SNAPSHOT", "CLOSED"]


@pytest.mark.parametrize("accept", [URQL, APOLLO])
async def test_batches_come_over_http_too(served: Served, seed: Seed, make: Make, accept: str) -> None:
    query = "subscription { riskBatches(intervalMs: 100) { reason risks { portfolioId } } }"
    async with (
        asyncio.timeout(10),
        httpx.AsyncClient(base_url=served.url, timeout=10) as http,
        http.stream("POST", "/graphql", json={"query": query}, headers={"accept": accept}) as response,
    ):
        heard = b""
        async for chunk in response.aiter_raw():
            heard += chunk
            if heard.count(b'"riskBatches"') == 2:
                break
            if b'{"reason":"BEGIN","risks":[]}' in heard:
                await seed.publish(make.snapshot(sequence="2"))
    assert b'{"reason":"UPDATE","risks":[{"portfolioId":"p-1"}]}' in heard


async def test_lines_of_an_event_stream_end_as_urql_looks_for_them(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=10) as http,
        http.stream("POST", "/graphql", json={"query": SUBSCRIPTION}, headers={"accept": URQL}) as response,
    ):
        heard = b""
        async for chunk in response.aiter_raw():
            heard += chunk
            if b"SNAPSHOT" in heard:
                break
    assert heard.startswith(b":\n\nevent: next\ndata: {")
    assert b"\r" not in heard
    await make.eventually(lambda: served.app.state.backend.fanout.readers == 0)


async def test_apollo_sees_an_event_with_the_boundary_after_it(served: Served, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=10) as http,
        http.stream("POST", "/graphql", json={"query": SUBSCRIPTION}, headers={"accept": APOLLO}) as response,
    ):
        assert response.headers["content-type"] == 'multipart/mixed;boundary="-";subscriptionSpec=1.0'
        heard = b""
        async for chunk in response.aiter_raw():
            heard += chunk
            if heard.count(b"\r\n---") == 2:
                break
    opening, part, rest = heard.split(b"\r\n---")
    assert (opening, rest) == (b"", b"")
    head, body = part.split(b"\r\n\r\n")
    assert head == b"\r\ncontent-type: application/json; charset=utf-8"
    assert json.loads(body)["payload"]["data"]["portfolioRisk"]["reason"] == "SNAPSHOT"


async def test_a_quiet_stream_gives_signs_of_life(
    served: Served, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.event_streams.BEAT_SECONDS", 0.05)
    await seed.write(make.snapshot())
    for accept, beat in ((EVENT_STREAM, b"\n\n:\n\n:\n\n"), (MULTIPART, b"\r\n\r\n{}\r\n---")):
        async with (
            asyncio.timeout(10),
            httpx.AsyncClient(base_url=served.url, timeout=10) as http,
            http.stream("POST", "/graphql", json={"query": SUBSCRIPTION}, headers={"accept": accept}) as response,
        ):
            heard = b""
            async for chunk in response.aiter_raw():
                heard += chunk
                if beat in heard:
                    break


async def test_an_ordinary_query_is_no_stream_to_those_who_would_take_one(client: Client) -> None:
    for accept in (URQL, APOLLO):
        response = await client.http.post("/graphql", json=TYPENAME, headers={"accept": accept})
        assert response.json() == {"data": {"__typename": "Query"}}


async def test_who_takes_nothing_but_a_stream_has_a_query_as_a_stream(client: Client) -> None:
    response = await client.http.post("/graphql", json=TYPENAME, headers={"accept": EVENT_STREAM})
    assert response.text == ':\n\nevent: next\ndata: {"data":{"__typename":"Query"}}\n\nevent: complete\ndata: \n\n'


async def test_a_subscription_that_cannot_be_a_stream_is_told_its_ways(client: Client) -> None:
    response = await client.http.post("/graphql", json={"query": SUBSCRIPTION})
    assert "text/event-stream" in refusal(response, 406, "NOT_ACCEPTABLE")


async def test_a_subscription_that_cannot_begin_is_refused_with_a_status(client: Client) -> None:
    body = {"query": "subscription($id: ID!) { portfolioRisk(portfolioId: $id) { reason } }"}
    response = await client.http.post("/graphql", json=body, headers={"accept": f"{EVENT_STREAM}, {GRAPHQL_JSON}"})
    assert response.status_code == 400
    assert response.json()["errors"]


# --- the page ---------------------------------------------------------------------------------------------------------

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_a_browser_gets_a_page_at_graphql_and_curl_an_answer(client: Client) -> None:
    page = await client.http.get("/graphql", headers=BROWSER)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "unpkg" not in page.text
    assert "cdn" not in page.text.lower()
    answer = await client.http.get("/graphql", params={"query": "{ __typename }"}, headers=BROWSER)
    assert answer.json() == {"data": {"__typename": "Query"}}


async def test_without_the_pages_graphql_says_how_to_have_them(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = next(each.app for each in client.app.routes if each.path == "/graphql")  # type: ignore[attr-defined]
    monkeypatch.setattr(endpoint, "_graphiql_html", lambda: None)
    page = await client.http.get("/graphql", headers=BROWSER)
    assert "not in this install" in page.text
    assert "curl http://plimsoll.localhost/graphql" in page.text


async def test_in_production_there_is_no_page() -> None:
    async with opened(NOTHING_BEHIND, profile="production") as http:
        response = await http.get("/graphql", headers=BROWSER)
        curl = await http.get("/graphql")
    # The dashboard links here, whichever profile is served.
    assert response.status_code == 404
    assert "PLIMSOLL_PROFILE=production" in response.text
    assert "script" not in response.text
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert "query: is missing" in refusal(curl, 400, "BAD_REQUEST")
