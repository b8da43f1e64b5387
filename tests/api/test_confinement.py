"""One advisor asks for everything there is, about everybody, and is told of nobody else.

The whole schema is walked from its types: every field at the top, and every way down from there, each asked about what
is the advisor's own, what is another's and what does not exist. Two things are held against every answer. It has to be,
byte for byte, what it was before the other advisor existed. And of what is another's it has to say what it says of what
does not exist. A way in is a function that turns a question into the bytes of its answer (`WAYS_IN`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import pytest
import uvicorn
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from api import rest
from api.app import create_app
from api.listing import Order, Row, encode_cursor
from api.schema import schema
from api.schema.scalars import global_id
from plimsoll.messages import AdvisorPnl, BacktestRecord, RiskBatch
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Issuer, Make, Seed, Served

pytestmark = pytest.mark.anyio

GRAPHQL = schema._schema
BATCHED = GRAPHQL.type_map["RiskSnapshot"]
assert isinstance(BATCHED, GraphQLObjectType)
PATH_LENGTH_MAX = 5


@dataclass(frozen=True)
class Whose:
    """Ids of the same length, so that answers about them can be of the same bytes."""

    portfolio: str
    advisor: str
    client: str


OWN = Whose("alfa-portfolio-1", "alfa-advisor", "alfa-client")
OTHERS = Whose("zulu-portfolio-1", "zulu-advisor", "zulu-client")
NOBODYS = Whose("none-portfolio-1", "none-advisor", "none-client")
FOREIGN = "zulu"


@dataclass(frozen=True)
class Question:
    """A document and its variables. Who it is about stands in one or the other."""

    document: str
    variables: Mapping[str, object]

    def __str__(self) -> str:
        return f"{self.document} {json.dumps(self.variables)}"


@dataclass(frozen=True)
class Variable:
    """Stands in a document for what is given beside it."""

    name: str


Ask: TypeAlias = Callable[[Question], Awaitable[bytes]]
WayIn: TypeAlias = Callable[[Starlette, Mapping[str, str]], contextlib.AbstractAsyncContextManager[Ask]]


# --- the questions ----------------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """A value as GraphQL writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {text(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + "]"
    if isinstance(value, Variable):
        return f"${value.name}"
    return json.dumps(value)


def ids_for(field: str, name: str, whose: Whose) -> list[str]:
    """What may be given for an argument of this name that is the id of a field at the top."""
    if name == "advisorId":
        return [whose.advisor]
    if field == "node":
        return [global_id("Portfolio", whose.portfolio), global_id("Advisor", whose.advisor)]
    if field == "advisor":
        return [whose.advisor, global_id("Advisor", whose.advisor)]
    # Of all others only this takes the global id as well.
    return [whose.portfolio, *([global_id("Portfolio", whose.portfolio)] if field == "portfolio" else [])]


def argument(name: str, kind: GraphQLArgument) -> object:
    """Something to give where a field wants it, besides ids."""
    values: dict[str, object] = {"trades": [{"symbol": "AAPL", "quantity": 1.0}]}
    assert name in values, f"the walk knows nothing to give for {name}: {kind.type}"
    return values[name]


def arguments(name: str, field: GraphQLField, given: Mapping[str, object]) -> str:
    stated = (
        {each: argument(each, kind) for each, kind in field.args.items() if is_required_argument(kind)}
        if (not given)
        else {
            each: given[each] if each in given else argument(each, kind)
            for each, kind in field.args.items()
            if each in given or is_required_argument(kind)
        }
    )
    if "first" in field.args:
        stated["first"] = 3  # As many as anybody has here, so that pages within pages are not too much to ask for.
    if name == "shock":
        stated["parallelFraction"] = -0.1  # Nothing is required of it, but one of three.
    return "(" + ", ".join(f"{each}: {text(value)}" for each, value in stated.items()) + ")" if stated else ""


def objects(kind: GraphQLNamedType) -> list[GraphQLObjectType]:
    """The object types that a field of this type may turn out to be."""
    if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
        return list(GRAPHQL.get_possible_types(kind))
    assert isinstance(kind, GraphQLObjectType)
    return [kind]


def leaves(kind: GraphQLObjectType) -> str:
    return " ".join(
        ["__typename", *(name for name, each in kind.fields.items() if is_leaf_type(get_named_type(each.type)))]
    )


def ways_down(kind: GraphQLNamedType, above: tuple[str, ...]) -> Iterator[str]:
    """Selections that reach everything below a type: each ends in the leaves of one type."""
    for each in objects(kind):
        if above.count(each.name) == 2 or len(above) == PATH_LENGTH_MAX:
            continue
        on = f"... on {each.name} "
        yield f"{on}{{ {leaves(each)} }}"
        for name, field in each.fields.items():
            below = get_named_type(field.type)
            if not is_leaf_type(below):
                for way in ways_down(below, (*above, each.name)):
                    yield f"{on}{{ {name}{arguments(name, field, {})} {{ {way} }} }}"


def givens(name: str, field: GraphQLField, whose: Whose) -> list[dict[str, object]]:
    """The ways in which a field at the top may be asked about somebody."""
    ids = [each for each in field.args if each in ("id", "portfolioId", "advisorId")]
    found: list[dict[str, object]] = [{each: one} for each in ids for one in ids_for(name, each, whose)]
    if ids and not any(is_required_argument(field.args[each]) for each in ids):
        found.append({})
    if "filter" in field.args:
        found += [
            {"filter": {"advisorId": whose.advisor}},
            {"filter": {"advisorId": whose.advisor, "minRiskNumber": 1}},
        ]
    if "after" in field.args:
        found.append({"after": cursors(whose)[name == "advisors"]})
    return found or [{}]


def cursors(whose: Whose) -> list[str]:
    """Places in the two lists, as somebody might have made them up."""
    return [
        encode_cursor(Order.RISK_NUMBER_DESC, Row(whose.portfolio, 99.0)),
        encode_cursor(Order.ADVISOR_ID, Row(whose.advisor)),
    ]


def questions(whose: Whose, kind: str = "query") -> list[Question]:
    """Every field at the top about somebody, and from there every way down; without a second question of one kind.

    Whose id it is stands in variables, as in clients' questions: everybody asks the same documents, so that what the
    API keeps of a document is shared by all who ask and all who are asked about. In the document itself it stands once
    for each way to write it.
    """
    root = GRAPHQL.query_type if kind == "query" else GRAPHQL.subscription_type
    assert root is not None
    asked = []
    for name, field in root.fields.items():
        down = list(ways_down(get_named_type(field.type), ()))
        for number, given in enumerate(givens(name, field, whose)):
            # How an id is written matters at the top and not below.
            ways = down if number == 0 else down[:1]
            declared = ", ".join(f"${each}: {field.args[each].type}" for each in given)
            named = arguments(name, field, {each: Variable(each) for each in given})
            head = f"{kind}({declared})" if given else kind
            asked += [Question(f"{head} {{ {name}{named} {{ {way} }} }}", given) for way in ways]
            if given:
                written = arguments(name, field, given)
                asked.append(Question(f"{kind} {{ {name}{written} {{ {down[0]} }} }}", {}))
    return asked


def test_every_subscription_is_asked_about_the_advisor_and_about_nobody_in_particular() -> None:
    assert GRAPHQL.subscription_type is not None
    asked = " ".join(map(str, questions(OWN, "subscription")))
    assert set(re.findall(r"subscription[^{]*\{ (\w+)", asked)) == set(GRAPHQL.subscription_type.fields)
    for each in (
        f'advisorRisk(advisorId: "{OWN.advisor}")',
        f'riskBatches(advisorId: "{OWN.advisor}")',
        "riskBatches {",
    ):
        assert each in asked


def test_the_walk_comes_by_every_field_of_every_type_that_can_be_reached() -> None:
    met: set[tuple[str, str]] = set()
    for question in questions(OWN):
        for on, selected in re.findall(r"on (\w+) \{ (__typename[\w ]*|\w+)", question.document):
            met |= {(on, name) for name in selected.split() if name != "__typename"}
    assert GRAPHQL.query_type is not None
    reached = {"Query"}
    waiting: list[GraphQLNamedType] = [GRAPHQL.query_type]
    expected: set[tuple[str, str]] = set()
    while waiting:
        for kind in objects(waiting.pop()):
            for name, field in kind.fields.items():
                if kind.name != "Query":
                    expected.add((kind.name, name))
                below = get_named_type(field.type)
                if not is_leaf_type(below) and below.name not in reached:
                    reached.add(below.name)
                    waiting.append(below)
    assert expected <= met
    tops = {re.match(r"query[^{]*\{ (\w+)", each.document)[1] for each in questions(OWN)}  # type: ignore[index]
    assert tops == set(GRAPHQL.query_type.fields)


# --- the answers ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def over_http(app: Starlette, headers: Mapping[str, str]) -> AsyncIterator[Ask]:
    """One POST a question."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://plimsoll.test", headers=headers) as http:

        async def ask(question: Question) -> bytes:
            asked = {"query": question.document, "variables": question.variables}
            response = await http.post("/graphql", json=asked)
            assert response.status_code in (200, 400), response.text
            return response.content

        yield ask


async def server_started(server: uvicorn.Server) -> None:
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def over_a_socket(app: Starlette, headers: Mapping[str, str]) -> AsyncIterator[Ask]:
    """One socket for every question; what answers it first is its answer."""
    app.state.sockets.limits = replace(app.state.sockets.limits, message_burst=100_000)
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="websockets-sansio", lifespan="off", log_config=None))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]  # pytest keeps its signals
    serving = asyncio.create_task(server.serve())
    await asyncio.wait_for(server_started(server), 10)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with connect(f"ws://127.0.0.1:{port}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": dict(headers)}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        number = 0

        async def ask(question: Question) -> bytes:
            nonlocal number
            number += 1
            payload = {"query": question.document, "variables": question.variables}
            await socket.send(json.dumps({"id": str(number), "type": "subscribe", "payload": payload}))
            while True:
                message = json.loads(await asyncio.wait_for(socket.recv(), 10))
                if message["type"] in ("next", "error") and message["id"] == str(number):
                    await socket.send(json.dumps({"id": str(number), "type": "complete"}))
                    return json.dumps(message["payload"], separators=(",", ":")).encode()

        yield ask
    server.should_exit = True
    await serving


WAYS_IN: list[WayIn] = [over_http, over_a_socket]


@pytest.fixture
def settings(redis_url: str, issuer: Issuer) -> Settings:
    return Settings(
        redis_url=redis_url,
        kafka_brokers="127.0.0.1:1",
        auth="on",
        audit="off",
        jwks=str(issuer.path),
        rate_signed_in=0,  # What is asked here all at once, no one's client asks in a minute.
    )


@pytest.fixture
def frozen(settings: Settings) -> Callable[[], contextlib.AbstractAsyncContextManager[Starlette]]:
    """Applications that were all started at the same moment, and for which it stays that moment."""
    now_ns = time.time_ns()

    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[Starlette]:
        app = create_app(settings, clock=lambda: now_ns)
        async with app.router.lifespan_context(app):
            yield app

    return start


async def settle(seed: Seed, make: Make, whose: Whose, *, factor: float) -> None:
    """Three portfolios with all that is kept of one. `factor`: by which sums would notice that they are there."""
    for number in (1, 2, 3):
        portfolio_id = whose.portfolio[:-1] + str(number)
        stated = {"client_id": whose.client, "market_value": 1_000.0 * factor, "var_95": 10.0 * factor}
        snapshot = make.snapshot(portfolio_id, whose.advisor, risk_number=25 * number, **stated)
        record = make.record(portfolio_id, whose.advisor, client_id=whose.client, cash=100.0 * factor)
        await seed.write(snapshot, record)
        await seed.history(portfolio_id, [60_000, 120_000])
        await seed.backtest(BacktestRecord(portfolio_id, "2020-01-02", "2020-01-03", 2, 0, 0, "00", "00"))
    vector = (b"\x00" * 6 + b"\xf0\x3f") * 100
    pnl = AdvisorPnl("set-1", 3, 3_000.0 * factor, 1.0, 1.0, 1.0, factor, 0.0, 0, 0, vector, vector)
    await seed.advisor_pnl(whose.advisor, "0/1", pnl)


async def the_market(seed: Seed) -> None:
    await seed.marks(AAPL=185.5, MSFT=420.25)
    await seed.scenario_set()
    await seed.heartbeat(portfolios=6, calculations=123_456_789)


def said(body: bytes, whose: Whose) -> str:
    """An answer without the ids that were asked for, which it may repeat."""
    answer = body.decode()
    for each in (whose.portfolio, whose.advisor):
        for form in (each, *(global_id(kind, each) for kind in ("Portfolio", "Advisor")), *cursors(whose)):
            answer = answer.replace(form, "ASKED")
    return re.sub(r'"timestamp":"[^"]*"', "", answer)


def gives_away(answer: str) -> bool:
    """Whether anything of the other advisor is in an answer, plain or in base64."""
    hidden = b" ".join(
        base64.urlsafe_b64decode(each + "=" * (-len(each) % 4))
        for each in re.findall(r"[A-Za-z0-9_-]{8,}", answer)
        if len(each) % 4 != 1
    )
    return FOREIGN in answer or FOREIGN.encode() in hidden


def test_what_would_give_somebody_away_is_noticed() -> None:
    assert gives_away('{"id": "zulu-portfolio-2"}')
    assert gives_away(json.dumps({"id": global_id("Portfolio", "zulu-portfolio-2")}))
    assert gives_away(json.dumps({"cursor": encode_cursor(Order.PORTFOLIO_ID, Row("zulu-portfolio-2"))}))
    assert not gives_away(json.dumps({"cursor": encode_cursor(Order.PORTFOLIO_ID, Row("alfa-portfolio-2"))}))


async def answers(ask: Ask, whose: Whose, kind: str = "query") -> dict[str, str]:
    """Every question about somebody and what is said to it, both without the ids that are asked for."""
    return {said(str(each).encode(), whose): said(await ask(each), whose) for each in questions(whose, kind)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("way_in", "kind"), [*((way, "query") for way in WAYS_IN), (over_a_socket, "subscription")])
async def test_an_advisor_who_asks_for_everything_is_told_of_nobody_else(
    frozen: Callable[[], contextlib.AbstractAsyncContextManager[Starlette]],
    issuer: Issuer,
    seed: Seed,
    make: Make,
    way_in: WayIn,
    kind: str,
) -> None:
    await the_market(seed)
    await settle(seed, make, OWN, factor=1.0)
    headers, everything = issuer.bearer(advisor_id=OWN.advisor), issuer.bearer(roles=["risk_manager"])
    async with frozen() as app, way_in(app, headers) as ask:
        alone = [await answers(ask, whose, kind) for whose in (OWN, NOBODYS)]
    await settle(seed, make, OTHERS, factor=777.0)
    async with frozen() as app, way_in(app, headers) as ask:
        of_own, of_others, of_nobody = [await answers(ask, whose, kind) for whose in (OWN, OTHERS, NOBODYS)]

    for question, answer in (of_own | of_others | of_nobody).items():
        assert not gives_away(answer), question
        assert "INTERNAL" not in answer, (question, answer)
    assert [of_own, of_nobody] == alone
    assert of_others == of_nobody

    # It was asked for something: the same questions tell a risk manager of everybody.
    async with frozen() as app, way_in(app, everything) as ask:
        told = await answers(ask, OTHERS, kind)
    assert sum(answer != of_others[question] for question, answer in told.items()) > len(told) / 3
    assert any(gives_away(answer) for answer in told.values())
    # And what was said of one's own was something.
    assert [answer for answer in of_own.values() if '"errors"' in answer] == []


# --- REST -------------------------------------------------------------------------------------------------------------


def addresses(whose: Whose) -> list[str]:
    """Every address that answers to GET, about somebody."""
    found = []
    for each in rest.ENDPOINTS:
        if each.method == "GET":
            path = each.path.replace("{portfolio_id}", whose.portfolio).replace("{advisor_id}", whose.advisor)
            assert "{" not in path, f"the walk knows nothing to put into {each.path}"
            named = {"portfolio_id": whose.portfolio, "advisor_id": whose.advisor}
            queries = [f"?{p.name}={named[p.name]}" for p in each.parameters if p.place == "query" and p.name in named]
            found += [path + query for query in queries] if "stream" in path else [path]
    return found


async def rest_answers(http: httpx.AsyncClient, whose: Whose) -> dict[str, tuple[int, str]]:
    found = {}
    for each in addresses(whose):
        if "stream" in each and whose is OWN:
            continue  # It would not end.
        response = await http.get(each)
        found[said(each.encode(), whose)] = (response.status_code, said(response.content, whose))
    return found


async def test_the_same_holds_of_every_address(
    frozen: Callable[[], contextlib.AbstractAsyncContextManager[Starlette]], issuer: Issuer, seed: Seed, make: Make
) -> None:
    await the_market(seed)
    await settle(seed, make, OWN, factor=1.0)

    async def every(*of: Whose) -> list[dict[str, tuple[int, str]]]:
        async with frozen() as app:
            transport = httpx.ASGITransport(app)
            headers = issuer.bearer(advisor_id=OWN.advisor)
            async with httpx.AsyncClient(transport=transport, base_url="http://plimsoll.test", headers=headers) as http:
                return [await rest_answers(http, whose) for whose in of]

    alone = await every(OWN, NOBODYS)
    await settle(seed, make, OTHERS, factor=777.0)
    of_own, of_others, of_nobody = await every(OWN, OTHERS, NOBODYS)
    assert [of_own, of_nobody] == alone
    assert of_others == of_nobody
    for address, (status, answer) in (of_own | of_others).items():
        assert not gives_away(answer), address
        assert status in (200, 404), (address, answer)
    assert {status for status, _ in of_own.values()} == {200}
    assert [status for status, _ in of_others.values()].count(404) == 4


@pytest.mark.parametrize("query", ["", f"?advisor_id={OWN.advisor}", f"?portfolio_id={OWN.portfolio}"])
async def test_the_same_holds_of_every_event(
    served: Served, issuer: Issuer, seed: Seed, make: Make, query: str
) -> None:
    await settle(seed, make, OWN, factor=1.0)
    await settle(seed, make, OTHERS, factor=777.0)
    present = 1 if "portfolio_id" in query else 3
    headers = issuer.bearer(advisor_id=OWN.advisor)
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=10, headers=headers) as http,
        http.stream("GET", f"/stream/risk-updates{query}") as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        told: list[dict[str, Any]] = []

        async def until(count: int) -> None:
            async for line in lines:
                assert not gives_away(line)
                if line.startswith("data: "):
                    told.append(json.loads(line.removeprefix("data: ")))
                if len(told) == count:
                    return

        await until(present)
        await seed.publish(make.snapshot(OTHERS.portfolio, OTHERS.advisor, sequence="2"))
        await seed.tell(OWN.advisor, RiskBatch([make.snapshot("zulu-portfolio-2", OTHERS.advisor, sequence="3")]))
        await seed.publish(make.snapshot(OWN.portfolio, OWN.advisor, sequence="2"))
        await until(present + 1)
        # It moves to the other advisor, and is heard of no more.
        await seed.move(make.snapshot(OWN.portfolio, OTHERS.advisor, sequence="3"), OWN.advisor)
        await until(present + 2)
        assert [(each["reason"], each["sequence"]) for each in told[present:]] == [("UPDATE", "2"), ("CLOSED", "2")]
        if "portfolio_id" in query:
            assert [line async for line in lines if line] == []
    assert {each["advisor_id"] for each in told} == {OWN.advisor}


@pytest.mark.parametrize("named", ["", f'(advisorId: "{OWN.advisor}")'])
async def test_the_same_holds_of_every_batch(
    served: Served, issuer: Issuer, seed: Seed, make: Make, named: str
) -> None:
    await settle(seed, make, OWN, factor=1.0)
    await settle(seed, make, OTHERS, factor=777.0)
    address = served.url.replace("http", "ws") + "/graphql"
    document = f"subscription {{ riskBatches{named} {{ reason closed stale risks {{ {leaves(BATCHED)} }} }} }}"
    async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": issuer.bearer(advisor_id=OWN.advisor)}))
        await socket.recv()
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": document}}))

        async def told() -> tuple[str, list[str], list[str]]:
            heard = await asyncio.wait_for(socket.recv(), 10)
            assert isinstance(heard, str)
            assert not gives_away(heard)
            batch = json.loads(heard)["payload"]["data"]["riskBatches"]
            return batch["reason"], [each["portfolioId"] for each in batch["risks"]], batch["closed"]

        assert await told() == ("BEGIN", [], [])
        await seed.publish(make.snapshot(OTHERS.portfolio, OTHERS.advisor, sequence="2"))
        await seed.close("zulu-portfolio-3", OTHERS.advisor)
        stray = make.snapshot("zulu-portfolio-2", OTHERS.advisor, sequence="3")
        await seed.tell(OWN.advisor, RiskBatch([stray], closed=["zulu-portfolio-3"]))
        await seed.publish(make.snapshot(OWN.portfolio, OWN.advisor, sequence="2"))
        assert await told() == ("UPDATE", [OWN.portfolio], [])
        # It moves to the other advisor, and is heard of no more.
        await seed.move(make.snapshot(OWN.portfolio, OTHERS.advisor, sequence="3"), OWN.advisor)
        assert await told() == ("UPDATE", [], [OWN.portfolio])
        await seed.publish(make.snapshot(OWN.portfolio, OTHERS.advisor, sequence="4"))
        await seed.close("alfa-portfolio-2", OWN.advisor)
        assert await told() == ("UPDATE", [], ["alfa-portfolio-2"])


async def test_a_stream_ends_with_what_let_its_reader_in(
    served: Served, issuer: Issuer, seed: Seed, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.event_streams.BEAT_SECONDS", 0.05)
    await settle(seed, make, OWN, factor=1.0)
    # Within the leeway for clocks that differ, so it is let in, and ends in some seconds.
    headers = issuer.bearer(advisor_id=OWN.advisor, exp=int(time.time()) + 1)
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=20, headers=headers) as http,
        http.stream("GET", "/stream/risk-updates") as response,
    ):
        assert response.status_code == 200
        events = [line async for line in response.aiter_lines() if line.startswith("data: ")]
    assert len(events) == 3
