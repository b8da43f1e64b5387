"""Who asked for what: what a line of the log says, and what it never does."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from api.audit import FIELDS_MAX, IDS_MAX, TEXT_SIZE_MAX, Audit, Decision, ids_in
from api.identity import Caller, Role
from plimsoll.logs import JsonLine
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.conftest import Client, Issuer, Make, Seed

ADA = Caller("ada", frozenset({Role.ADVISOR, Role.OPERATOR}), "advisor-1")


class Lines:
    """What the logger wrote, as it is written in earnest."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(JsonLine())

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    written = Lines()
    logger = logging.getLogger("plimsoll.audit")
    logger.addHandler(written.handler)
    yield written
    logger.removeHandler(written.handler)
    logger.setLevel(logging.NOTSET)


def test_a_line_says_who_asked_for_what_and_whether_they_got_it(lines: Lines) -> None:
    Audit(on=True).record(ADA, "http", "query Mine", ["portfolio"], ["p-1"], Decision.FORBIDDEN)
    (line,) = lines.read()
    assert line.pop("time")
    assert line == {
        "level": "info",
        "logger": "plimsoll.audit",
        "message": "asked",
        "subject": "ada",
        "roles": ["advisor", "operator"],
        "transport": "http",
        "operation": "query Mine",
        "fields": ["portfolio"],
        "ids": ["p-1"],
        "decision": "forbidden",
    }


def test_what_callers_send_neither_ends_a_line_nor_steers_a_terminal(lines: Lines) -> None:
    evil = 'a\n{"subject": "root"}\r\x1b[2J\u2028\u202e\x9b'
    Audit(on=True).record(Caller(evil, frozenset()), "http", f"GET {evil}", [evil], [evil, "p-1"])
    text = lines.stream.getvalue()
    assert len(text.splitlines()) == 1
    assert text.rstrip("\n").isprintable()
    assert text.isascii()
    assert lines.read()[0]["ids"] == ["p-1"]


def test_a_line_is_bounded_however_much_was_asked(lines: Lines) -> None:
    names = [f"{number}-" + "x" * 1_000 for number in range(1_000)]
    ids = [f"p-{number}" for number in range(1_000)]
    Audit(on=True).record(Caller("y" * 9_999, frozenset()), "http", "z" * 9_999, names, ids)
    (line,) = lines.read()
    assert (len(line["fields"]), len(line["ids"]), len(line["subject"])) == (FIELDS_MAX, IDS_MAX, TEXT_SIZE_MAX)
    assert len(lines.stream.getvalue()) < 10_000


def test_ids_are_found_among_variables_and_nothing_else_is() -> None:
    variables = {
        "portfolioId": "p-1",
        "ids": ["p-2", 3, None],
        "input": {"advisorId": "advisor-1", "trades": [{"symbol": "AAPL", "quantity": 1.0}]},
        "password": "secret",
    }
    assert sorted(ids_in(variables)) == ["advisor-1", "p-1", "p-2"]
    deep: dict[str, Any] = {"id": "end"}
    for _ in range(5_000):
        deep = {"deeper": deep}
    assert ids_in(deep) == []
    assert ids_in({"ids": [[["x"] * 900] * 900] * 900})


@pytest.mark.parametrize(
    ("auth", "audit", "on"),
    [("off", "auto", False), ("off", "on", True), ("on", "auto", True), ("on", "off", False), ("off", "off", False)],
)
def test_it_is_kept_where_there_is_sign_in_or_where_the_settings_say(
    lines: Lines, auth: str, audit: str, on: bool
) -> None:
    Audit.of(Settings(auth=auth, audit=audit)).record(ADA, "http", "GET /health")
    assert bool(lines.read()) is on


class TestOverHttp:
    """What the API writes."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def settings(self, redis_url: str, issuer: Issuer) -> Settings:
        return Settings(redis_url=redis_url, kafka_brokers="127.0.0.1:1", auth="on", jwks=str(issuer.path))

    async def test_each_request_leaves_a_line_without_its_token(
        self, client: Client, issuer: Issuer, seed: Seed, make: Make, lines: Lines
    ) -> None:
        await seed.write(make.snapshot())
        headers = issuer.bearer()
        await client.http.get("/risk/p-1", headers=headers)
        await client.http.post("/simulate/portfolio?portfolio_id=p-1&risk_tolerance=Moderate", headers=headers)
        await client.http.get("/risk/p-1?token=hidden")
        body = {
            "query": "query Mine($p: ID!) { portfolio(id: $p) { id } firmRisk { scope } }"
            ' query Not { portfolioRisk(portfolioId: "p-3") { riskNumber } }',
            "variables": {"p": "p-2", "note": "hidden"},
            "operationName": "Mine",
        }
        await client.http.post("/graphql", json=body, headers=headers)
        await client.http.get("/live")
        told = [(each["subject"], each["operation"], each["ids"], each["decision"]) for each in lines.read()]
        assert told == [
            ("ada", "GET /risk/{portfolio_id}", ["p-1"], "allowed"),
            ("ada", "POST /simulate/portfolio-update", ["p-1"], "forbidden"),
            (None, "GET /risk/p-1", [], "unauthenticated"),
            ("ada", "query Mine", ["p-2"], "allowed"),
        ]
        assert lines.read()[-1]["fields"] == ["firmRisk", "portfolio"]
        text = lines.stream.getvalue()
        assert headers["authorization"].removeprefix("Bearer ") not in text
        assert "hidden" not in text
