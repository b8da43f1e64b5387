"""What stands before every request: names, origins, rates, sizes, and what answers tell a browser."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from api import rates
from api.app import create_app
from api.bodies import BODY_SIZE_MAX, Bodies
from api.guard import Guard, is_own_address
from api.identity import ANYONE, STRANGER, Caller
from api.rates import Buckets, RateLimit, Rates
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Issuer

pytestmark = pytest.mark.anyio

DESK = "https://desk.example.com"
NO_REDIS = "redis://127.0.0.1:1/0"
QUERY = {"query": "{ __typename }"}


@asynccontextmanager
async def opened(settings: Settings, base_url: str = "http://localhost:6066") -> AsyncIterator[httpx.AsyncClient]:
    """The application with nothing behind it."""
    app = create_app(replace(settings, redis_url=NO_REDIS, kafka_brokers="127.0.0.1:1"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=base_url) as http,
    ):
        yield http


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with opened(Settings(allowed_origins=(DESK,), allowed_hosts=("risk.internal",))) as client:
        yield client


def code(response: httpx.Response) -> str:
    found: str = response.json()["errors"][0]["extensions"]["code"]
    return found


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("LOCALHOST:6066", True),
        ("app.localhost:6066", True),
        ("127.0.0.1:6066", True),
        ("[::1]", True),
        ("[::1]:6066", True),
        ("192.0.2.7:80", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example:6066", False),
        ("localhost.evil.example", False),
        ("evil.example@localhost:x", False),
        ("", False),
    ],
)
def test_only_an_address_and_localhost_mean_this_machine_to_everyone(host: str, *, ours: bool) -> None:
    assert is_own_address(host.encode()) is ours


async def test_a_name_that_somebody_pointed_at_us_is_refused_in_the_shape_of_the_protocol(
    http: httpx.AsyncClient,
) -> None:
    foreign = {"host": "evil.example:6066"}
    graphql = await http.post("/graphql", json=QUERY, headers=foreign)
    assert (graphql.status_code, code(graphql)) == (421, "UNKNOWN_HOST")
    rest = await http.get("/live", headers=foreign)
    assert rest.status_code == 421
    assert "PLIMSOLL_ALLOWED_HOSTS" in rest.json()["detail"]
    assert (await http.get("/live", headers={"host": "risk.internal:6066"})).status_code == 200


async def test_a_socket_by_such_a_name_is_closed_before_it_opens() -> None:
    sent = await passed(Guard(_unreachable, (), ()), {**A_SOCKET, "headers": [(b"host", b"evil.example")]})
    assert sent == [{"type": "websocket.close", "code": 1008}]


# --- origins ----------------------------------------------------------------------------------------------------------

FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:9999"},
    {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]
OWN = [
    {},
    {"origin": DESK, "sec-fetch-site": "cross-site"},
    {"origin": "http://localhost:6066"},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    # A development server passes its page's requests on under our name.
    {"origin": "http://localhost:5173", "sec-fetch-site": "same-origin"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_page_of_another_site_can_neither_change_nor_ask(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    changed = await http.post("/simulate/portfolio-update?portfolio_id=p", headers=headers)
    assert changed.status_code == 403
    assert "PLIMSOLL_ALLOWED_ORIGINS" in changed.json()["detail"]
    posted = await http.post("/graphql", json=QUERY, headers=headers)
    assert (posted.status_code, code(posted)) == (403, "CROSS_SITE")
    got = await http.get("/graphql", params=QUERY, headers=headers)
    assert (got.status_code, code(got)) == (403, "CROSS_SITE")
    assert "access-control-allow-origin" not in got.headers
    # A link to us is no harm.
    assert (await http.get("/docs", headers=headers)).status_code == 200


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_our_own_pages_and_those_we_allow_may_do_both(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    # What is no request is refused as such, so it was let as far as that.
    assert code(await http.post("/graphql", json={}, headers=headers)) == "BAD_REQUEST"
    assert code(await http.get("/graphql", params={"x": "y"}, headers=headers)) == "BAD_REQUEST"


async def test_an_allowed_origin_may_read_and_no_answer_is_kept_for_another(http: httpx.AsyncClient) -> None:
    answer = await http.get("/live", headers={"origin": DESK})
    assert answer.headers["access-control-allow-origin"] == DESK
    assert "access-control-allow-credentials" not in answer.headers
    for each in (answer, await http.get("/live"), await http.get("/live", headers={"origin": "https://evil.example"})):
        assert "Origin" in each.headers["vary"]
    assert "access-control-allow-origin" not in each.headers


async def test_a_preflight_is_answered_for_allowed_origins_alone(http: httpx.AsyncClient) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type, authorization"}
    allowed = await http.options("/graphql", headers={"origin": DESK, **asks})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == DESK
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert {"content-type", "authorization"} <= set(allowed.headers["access-control-allow-headers"].split(", "))
    refused = await http.options("/graphql", headers={"origin": "https://evil.example", **asks})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


# --- what every answer says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/live", "/graphql", "/no/such/route", "/openapi.json"])
async def test_every_answer_is_what_it_says_and_is_not_kept(http: httpx.AsyncClient, path: str) -> None:
    headers = (await http.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/docs", "/graphql"])
async def test_pages_run_nothing_of_others_and_are_framed_by_nobody(http: httpx.AsyncClient, path: str) -> None:
    page = await http.get(path, headers={"accept": "text/html"})
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


async def test_an_error_of_ours_is_an_id_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("redis://:secret@host")

    start, body = await passed(Guard(broken, (), None), {**A_REQUEST, "path": "/risk/p"})
    assert start["status"] == 500
    assert b"secret" not in body["body"]
    error_id = body["body"].split(b"internal error ")[1].split(b";")[0].decode()
    assert error_id in caplog.text


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/graphql", "/portfolio/update"])
async def test_a_body_too_large_is_refused_however_it_is_sent(http: httpx.AsyncClient, path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    for content in (b"x" * (BODY_SIZE_MAX + 1), chunks()):
        response = await http.post(path, content=content, headers={"content-type": "application/json"})
        assert response.status_code == 413
        assert response.headers["connection"] == "close"
        assert "1,000,000 bytes" in response.text


@pytest.mark.parametrize("path", ["/graphql", "/portfolio/update"])
async def test_a_compressed_body_is_not_read(http: httpx.AsyncClient, path: str) -> None:
    response = await http.post(path, content=b"x", headers={"content-encoding": "gzip"})
    assert response.status_code == 415
    assert "content-encoding" in response.text


async def test_what_is_still_sent_after_a_refusal_is_dropped_before_the_end() -> None:
    """Else the sender would meet a reset connection, and never read why."""
    order: list[str] = []
    parts = iter([{"type": "http.request", "body": b"x" * 600_000, "more_body": n < 4} for n in range(5)])

    async def receive() -> Message:
        order.append("received")
        return next(parts)

    async def send(message: Message) -> None:
        order.append("end" if message["type"] == "http.response.body" and not message.get("more_body") else "told")

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b"too large"})

    scope = {**A_REQUEST, "headers": [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")]}
    await Bodies(deaf)(scope, receive, send)
    assert order == ["told", "told", *["received"] * 5, "end"]


# --- rates ------------------------------------------------------------------------------------------------------------


def test_a_bucket_empties_and_fills_at_its_rate() -> None:
    now = [0.0]
    buckets = Buckets(10.0, lambda: now[0])
    assert [buckets.take("a") for _ in range(20)] == [0.0] * 20
    assert buckets.take("a") == pytest.approx(0.1)
    assert buckets.take("b") == 0.0
    now[0] = 0.1
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0.0
    now[0] = 1_000.0
    assert [buckets.take("a") for _ in range(21)].count(0.0) == 20


def test_a_batch_takes_as_many_as_it_holds_and_one_beyond_the_bucket_takes_all() -> None:
    buckets = Buckets(2.0, lambda: 0.0)
    assert buckets.take("a", 3) == 0.0
    assert buckets.take("a", 3) == pytest.approx(1.0)
    assert buckets.take("b", 1_000) == 0.0


def test_callers_beyond_the_table_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "CALLERS_MAX", 2)
    buckets = Buckets(1.0, lambda: 0.0)
    for caller in ("a", "a", "b", "c"):
        assert buckets.take(caller) == 0.0
    # `a` was forgotten, so its bucket is full again.
    assert buckets.take("a", 2) == 0.0


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, nothing flows into a bucket meanwhile."""
    monkeypatch.setattr("api.app.time", SimpleNamespace(monotonic=lambda: 0.0, time_ns=time.time_ns))


@pytest.mark.usefixtures("still")
async def test_who_asks_too_often_is_told_when_to_come_back_in_the_shape_of_the_protocol() -> None:
    async with opened(Settings(rate_anyone=1)) as http:
        answers = [await http.post("/graphql", json={}) for _ in range(4)]
        refused = answers[-1]
        assert [each.status_code for each in answers] == [400, 400, 429, 429]
        assert code(refused) == "RATE_LIMITED"
        assert refused.headers["retry-after"] == "1"
        rest = await http.get("/openapi.json")
        assert (rest.status_code, rest.headers["retry-after"]) == (429, "1")
        assert (await http.get("/live")).status_code == 200


@pytest.mark.usefixtures("still")
async def test_a_batch_counts_as_all_of_its_requests() -> None:
    async with opened(Settings(rate_anyone=3)) as http:
        refused = await http.post("/graphql", json=[QUERY] * 10)
    assert (refused.status_code, code(refused)) == (429, "RATE_LIMITED")


async def test_those_who_signed_in_are_held_to_a_rate_each_wherever_they_are() -> None:
    limited = RateLimit(_answering, Rates(1, 0, lambda: 0.0))

    async def status(subject: str | None, address: str) -> int:
        caller = ANYONE if subject is None else replace(ANYONE, subject=subject)
        start, _ = await passed(limited, {**A_REQUEST, "client": (address, 1), "state": {"caller": caller}})
        return int(start["status"])

    assert [await status("ann", f"192.0.2.{n}") for n in range(3)] == [200, 200, 429]
    assert await status("bob", "192.0.2.1") == 200
    assert [await status(None, "192.0.2.1") for _ in range(5)] == [200] * 5


async def test_addresses_that_have_not_signed_in_are_held_to_a_rate_each_and_nobody_signed_in_pays_for_them() -> None:
    limited = RateLimit(_answering, Rates(1, 0, lambda: 0.0))

    async def status(caller: Caller, address: str) -> int:
        start, _ = await passed(limited, {**A_REQUEST, "client": (address, 1), "state": {"caller": caller}})
        return int(start["status"])

    assert [await status(STRANGER, "192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert await status(STRANGER, "192.0.2.2") == 200
    # A subject of that name is somebody else.
    assert await status(replace(ANYONE, subject="stranger"), "192.0.2.1") == 200


@pytest.mark.usefixtures("still")
async def test_tokens_that_are_new_are_looked_at_so_often_and_one_that_is_known_at_any_time(
    issuer: Issuer, tokens_read: list[str]
) -> None:
    good = issuer.bearer()
    async with opened(Settings(auth="on", jwks=str(issuer.path), rate_signed_in=2)) as http:
        assert (await http.get("/no/such", headers=good)).status_code == 404
        bad = {"authorization": f"Bearer {issuer.token(aud='others')}"}
        answers = [await http.get("/health", headers=bad) for _ in range(8)]
        assert [each.status_code for each in answers] == [401] * 3 + [429] * 5
        assert answers[-1].headers["retry-after"] == "1"
        assert len(tokens_read) == 1 + 3
        assert code(await http.post("/graphql", json={}, headers=bad)) == "RATE_LIMITED"
        assert (await http.get("/no/such", headers=good)).status_code == 404


@pytest.mark.parametrize("shown", ["Basic YTpi", "", "Bearer", "YTpi"])
async def test_what_is_no_token_at_all_is_refused_like_one_that_is_wrong(issuer: Issuer, shown: str) -> None:
    async with opened(Settings(auth="on", jwks=str(issuer.path))) as http:
        for path in ("/health", "/no/such", "/graphql"):
            assert (await http.get(path, headers={"authorization": shown})).status_code == 401, path


# --- without a server -------------------------------------------------------------------------------------------------

A_REQUEST: Scope = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "path": "/graphql",
    "headers": [(b"host", b"localhost")],
}
A_SOCKET: Scope = {"type": "websocket", "path": "/graphql"}


async def passed(app: Callable[..., object], scope: Scope) -> list[Message]:
    """What an ASGI application sends for a scope without a body."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(dict(scope), receive, send)  # type: ignore[misc]
    return sent


async def _answering(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _unreachable(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("this was to be refused")
