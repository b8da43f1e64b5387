"""Every request has an id, and its lines carry it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from api.requests import TROUBLED_LINES_MAX, Routes
from plimsoll.logs import JsonLine

if TYPE_CHECKING:
    from tests.api.conftest import Client, Seed, Served

pytestmark = pytest.mark.anyio
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Lines(logging.Handler):
    """What would be written, as it would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLine())
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(self.format(record))

    def of(self, request_id: str) -> list[str]:
        return [line for line in self.written if f'"request_id": "{request_id}"' in line]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("api")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def id_of(response: httpx.Response) -> str:
    (found,) = response.headers.get_list("x-request-id")
    return found


async def test_an_answer_has_an_id_of_its_own(client: Client) -> None:
    ids = {id_of(await client.http.get("/live")) for _ in range(10)}
    assert len(ids) == 10
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in ids)


async def test_a_caller_may_bring_the_id(client: Client) -> None:
    for brought in ("checkout-7.retry_2", "x" * 64):
        assert id_of(await client.http.get("/live", headers={"x-request-id": brought})) == brought


@pytest.mark.parametrize("brought", ["", "x" * 65, "two words", 'quo"te', "new\\nline", "\u00e9"])
async def test_what_is_no_id_is_as_if_it_had_not_come(client: Client, brought: str) -> None:
    response = await client.http.get("/live", headers={"x-request-id": brought.encode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{16}", id_of(response))


async def test_every_answer_has_one_errors_included(client: Client, seed: Seed) -> None:
    await seed.redis.set("risk:broken", "not json")
    for path, status in (("/no/such", 404), ("/risk/nobody", 404), ("/risk/broken", 500), ("/risk/a%20b", 422)):
        response = await client.http.get(path, headers={"x-request-id": "mine"})
        assert (response.status_code, id_of(response)) == (status, "mine")


async def test_a_socket_has_one_too(served: Served) -> None:
    socket = await served.socket()
    assert socket.connection.response is not None
    assert re.fullmatch(r"[0-9a-f]{16}", socket.connection.response.headers["x-request-id"])


async def test_an_internal_error_is_found_by_the_request_it_happened_in(
    client: Client, seed: Seed, lines: Lines
) -> None:
    await seed.redis.set("risk:broken", "not json")
    response = await client.http.post(
        "/graphql",
        json={"query": '{ portfolioRisk(portfolioId: "broken") { var95 } }'},
        headers={"x-request-id": "mine", "traceparent": TRACEPARENT},
    )
    extensions = response.json()["errors"][0]["extensions"]
    assert extensions["requestId"] == "mine"
    (internal,) = (line for line in lines.of("mine") if "internal error" in line)
    assert extensions["errorId"] in internal
    assert f'"trace_id": "{TRACE}"' in internal


async def test_a_request_is_a_line_without_what_it_asked_for(client: Client, lines: Lines) -> None:
    secrets = {"authorization": "Bearer topsecret", "x-request-id": "mine"}
    await client.http.post(
        "/graphql?token=topsecret",
        json={"query": "query Q($id: ID!) { portfolio(id: $id) { id } }", "variables": {"id": "topsecret"}},
        headers=secrets,
    )
    written = lines.of("mine")
    assert any('"route": "/graphql"' in line and '"status": 200' in line for line in written)
    assert any('"document": "' in line and "query portfolio: ok" in line for line in written)
    assert "topsecret" not in "".join(lines.written)
    assert "$id" not in "".join(lines.written)


async def test_a_path_cannot_forge_a_line(client: Client, lines: Lines) -> None:
    await client.http.get('/no%0A{"level":"error"}' + "x" * 1_000, headers={"x-request-id": "mine"})
    (line,) = lines.of("mine")
    assert "\n" not in line
    assert len(line) < 600


async def test_what_failed_through_us_is_a_warning_but_not_without_end(
    client: Client, seed: Seed, lines: Lines
) -> None:
    await seed.redis.set("risk:broken", "not json")
    for _ in range(TROUBLED_LINES_MAX + 30):
        await client.http.get("/risk/broken")
    warned = [line for line in lines.written if '"logger": "api.requests.troubled"' in line]
    # Two seconds may have passed.
    assert 1 <= len(warned) <= 3 * TROUBLED_LINES_MAX - 1
    assert all('"level": "warning"' in line for line in warned)


async def test_what_the_caller_did_wrong_is_no_warning(client: Client, lines: Lines) -> None:
    await client.http.get("/risk/nobody", headers={"x-request-id": "mine"})
    assert ['"level": "debug"' in line for line in lines.of("mine")] == [True]


async def test_a_template_is_found_by_the_path_and_not_by_what_is_in_it(client: Client) -> None:
    routes = Routes(client.app.routes)
    assert routes.template("/risk/risk") == "/risk/{portfolio_id}"
    assert routes.template("/portfolios/at-risk") == "/portfolios/at-risk"
    assert routes.template("/pages/assets/x/y.js") in ("/pages/{path:path}", "none")
    assert routes.template("/risk/p-1/more") == "none"
