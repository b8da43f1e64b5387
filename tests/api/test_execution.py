from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import logging
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from graphql import ExecutionResult, execute, parse
from msgspec.structs import replace as replaced
from starlette.applications import Starlette

from api import execution
from api.app import create_app
from api.documents import RefusedDocument, prepare
from api.execution import answer, payload
from api.gather import Strings
from api.identity import ANYONE
from api.schema import schema
from api.schema.execution import Executor
from api.schema.operation import Operation, Session
from plimsoll.messages import RiskSnapshot, encode
from plimsoll.settings import Settings

pytestmark = pytest.mark.anyio
QUESTIONS = 250
NOW_NS = 1_700_000_100_000_000_000

_spec = importlib.util.spec_from_file_location("questions", Path(__file__).with_name("questions.py"))
assert _spec is not None
assert _spec.loader is not None
_questions = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_questions)


@pytest.fixture
def app(settings: Settings) -> Starlette:
    """At a moment that does not move."""
    return create_app(settings, clock=lambda: NOW_NS)


@pytest.fixture
def session(client: Any) -> Session:
    """A caller who may see everything."""
    return Session(client.app.state.backend, ANYONE)


async def told(session: Session, text: str, variables: dict[str, Any] | None = None, name: str | None = None) -> Any:
    return json.loads(await answer(session, prepare(text), variables or {}, name))


async def refused(session: Session, text: str, variables: dict[str, Any] | None = None) -> RefusedDocument:
    with pytest.raises(RefusedDocument) as caught:
        await answer(session, prepare(text), variables or {}, None)
    return caught.value


def code_of(refusal: RefusedDocument) -> object:
    return (refusal.errors[0].extensions or {}).get("code")


# --- the short way is the long way ------------------------------------------------------------------------------------

ARGUMENTS = {
    "portfolioId": ['"p-1"', '"p-2"', '"nobody"', '"not an id"'],
    "id": ['"p-1"', '"p-3"', '"advisor-1"', '"nobody"', '"UG9ydGZvbGlvOnAtMQ=="'],
    "first": ["1", "2", "50", "0", "999"],
    "after": ["null", '"no cursor"'],
    "riskThreshold": ["1", "60", "70", "0"],
    "trades": ['[{symbol: "AAPL", quantity: -3}]', "[]", '[{symbol: "NEW", quantity: 1.5}]'],
    "orderBy": ["RISK_NUMBER_ASC", "PORTFOLIO_ID", "null"],
    "scenarios": ["null", '["nothing"]'],
    "parallelFraction": ["-0.2", "99"],
}
FIELDS = [
    "portfolioRisk", "portfolio", "portfolios", "atRiskPortfolios", "advisor", "advisors", "whatIf", "contributions",
    "stress", "shock", "riskHistory", "node",
]  # fmt: skip


async def by_graphql_core(session: Session, text: str) -> bytes:
    result: Any = execute(schema._schema, parse(text), context_value=Operation(session), executor_class=Executor)
    done: ExecutionResult = await result if hasattr(result, "__await__") else result
    return payload(done)


async def test_hundreds_of_questions_are_answered_byte_for_byte_as_by_graphql_core(
    session: Session, seed: Any, make: Any
) -> None:
    await seed.write(make.snapshot("p-1", risk_number=72, sequence="41"))
    await seed.write(make.snapshot("p-2", risk_number=None, volatility=None, oldest_price_ns=None, client_id=None))
    # Nobody's fault, and yet not of the schema: a whole number of more than 32 bits.
    await seed.write(make.snapshot("p-3", "advisor-2", risk_number=70, observations=2**40))
    await seed.scenario_set()
    await seed.marks(AAPL=190.0, MSFT=410.0)
    await seed.heartbeat()
    rng = random.Random(20_251_125)
    questions = _questions.Questions(schema._schema, rng, ARGUMENTS, FIELDS)
    asked = failed = 0
    while asked < QUESTIONS:
        text = questions.one()
        try:
            short = await answer(session, prepare(text), {}, None)
        except RefusedDocument:
            continue
        exact = await by_graphql_core(session, text)
        assert short == exact, text
        asked += 1
        failed += b'"errors"' in exact
    assert 40 < failed < QUESTIONS - 40


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("query($p: ID!) { portfolioRisk(portfolioId: $p) { ...f }} fragment f on RiskSnapshot { beta }", {"p": "p-1"}),
        ("query($n: Int!) { portfolios(first: $n) { edges { cursor node { id risk { sequence } } } } }", {"n": 2}),
        ("query($n: Int!) { portfolios(first: $n) { nodes { risk { riskBand alignment { gap } } } } }", {"n": 2}),
        ("{ atRiskPortfolios(riskThreshold: 1) { nodes { riskTolerance risk { stale priceAgeMs } } } }", {}),
        ("query($n: Int) { portfolios(first: $n) { nodes { id } } advisors { nodes { advisorId } } }", {}),
        ('{ contributions(portfolioId: "p-1") { holdings { symbol componentVar95 } } }', {}),
        ('{ whatIf(portfolioId: "p-1", trades: []) { before { var95 } difference { var95 } breaches { code } } }', {}),
        ("{ systemStatus { status workers { beatAt applied } } metricsSummary { highRiskCount } }", {}),
    ],
)  # fmt: skip
async def test_plain_questions_go_the_short_way(
    session: Session, seed: Any, make: Any, monkeypatch: pytest.MonkeyPatch, text: str, variables: dict[str, Any]
) -> None:
    await seed.write(make.snapshot("p-1"))
    await seed.scenario_set()
    await seed.marks(AAPL=190.0, MSFT=410.0)
    await seed.heartbeat()

    def refuse(*_: object) -> None:
        raise AssertionError("by graphql-core")

    monkeypatch.setattr(execution, "_executor", refuse)
    assert "errors" not in await told(session, text, variables)


async def test_a_null_that_an_argument_does_not_take_is_an_error_as_by_graphql_core(session: Session) -> None:
    body = await told(session, "query($n: Int = 3) { portfolios(first: $n) { nodes { id } } }", {"n": None})
    (error,) = body["errors"]
    assert "null" in error["message"]
    assert error["path"] == ["portfolios"]


async def test_variables_reach_the_resolver_and_their_defaults_too(session: Session, seed: Any, make: Any) -> None:
    for number in range(5):
        await seed.write(make.snapshot(f"p-{number}"))
    text = """query($n: Int! = 2, $after: String) {
        portfolios(first: $n, after: $after, orderBy: PORTFOLIO_ID) {
            nodes { portfolioId } pageInfo { endCursor } } }"""
    page = (await told(session, text))["data"]["portfolios"]
    assert [each["portfolioId"] for each in page["nodes"]] == ["p-0", "p-1"]
    page = (await told(session, text, {"n": 3, "after": page["pageInfo"]["endCursor"]}))["data"]["portfolios"]
    assert [each["portfolioId"] for each in page["nodes"]] == ["p-2", "p-3", "p-4"]


async def test_the_operation_that_is_named_is_carried_out(session: Session) -> None:
    text = "query A { __typename } query B { b: __typename }"
    assert await told(session, text, name="B") == {"data": {"b": "Query"}}
    with pytest.raises(RefusedDocument, match="A, B"):
        await told(session, text)


# --- what is refused --------------------------------------------------------------------------------------------------

RISK = "query($id: ID!) { portfolioRisk(portfolioId: $id) { var95 } }"
WHAT_IF = 'query($trades: [TradeInput!]!) { whatIf(portfolioId: "p", trades: $trades) { after { var95 } } }'
SHOCK = 'query($x: Float) { shock(portfolioId: "p", parallelFraction: $x) { pnl } }'


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("text", "variables", "code"),
    [
        (RISK, {}, "BAD_VARIABLES"),
        (RISK, {"id": {"a": 1}}, "BAD_VARIABLES"),
        (RISK, {"id": ["x" * 1_000_000]}, "BAD_VARIABLES"),
        (RISK, {"id": 10**5_000}, "BAD_VARIABLES"),
        ("query($n: Int!) { portfolios(first: $n) { nodes { id } } }", {"n": 10**5_000}, "BAD_VARIABLES"),
        (SHOCK, {"x": 10**5_000}, "BAD_VARIABLES"),
        (WHAT_IF, {"trades": nested(100_000)}, "TOO_COMPLEX"),
        (WHAT_IF, {"trades": nested(10)}, "BAD_VARIABLES"),
        (WHAT_IF, {"trades": [{}] * 9_000}, "BAD_VARIABLES"),
        (WHAT_IF, {"trades": [{"symbol": "A", "quantity": 1.0}] * 5_000}, "TOO_COMPLEX"),
        (WHAT_IF, {"trades": [{"symbl": "A" * 60_000}]}, "BAD_VARIABLES"),
    ],
)  # fmt: skip
async def test_hostile_variables_are_refused_in_no_time_and_with_few_words(
    session: Session, text: str, variables: dict[str, Any], code: str
) -> None:
    prepare(text)
    gc.collect()
    began = time.thread_time()
    refusal = await refused(session, text, variables)
    assert time.thread_time() - began < 0.1
    assert code_of(refusal) == code
    assert len(refusal.errors) <= execution.COERCION_ERRORS_MAX + 1
    assert all(len(each.message) < 600 for each in refusal.errors)


async def test_thousands_of_variables_that_nobody_declared_are_not_looked_at(session: Session) -> None:
    variables = {f"v{number}": nested(50) for number in range(5_000)} | {"id": "nobody"}
    assert await told(session, RISK, variables) == {"data": {"portfolioRisk": None}}


async def test_the_cost_is_judged_by_the_pages_that_are_asked_for(session: Session) -> None:
    text = """query($n: Int!) { advisors(first: $n) { nodes { portfolios(first: 200) { nodes {
        portfolioId risk { var95 var99 } } } } } }"""
    assert "data" in await told(session, text, {"n": 10})
    refusal = await refused(session, text, {"n": 200})
    assert code_of(refusal) == "TOO_COMPLEX"
    assert (refusal.errors[0].extensions or {})["limit"] == "cost"


async def test_production_does_not_tell_its_schema(session: Session) -> None:
    backend = replace(session.backend, settings=replace(session.backend.settings, profile="production"))
    for text in ("{ __schema { queryType { name } } }", '{ ... { __type(name: "Query") { name } } }'):
        assert "data" in await told(session, text)
        assert code_of(await refused(Session(backend, ANYONE), text)) == "FORBIDDEN"
    assert await told(Session(backend, ANYONE), "{ __typename }") == {"data": {"__typename": "Query"}}


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", ["", " systemStatus { status }"])
async def test_an_expected_error_has_its_code_and_its_place(session: Session, beside: str) -> None:
    body = await told(session, "{ page: portfolios(first: 201) { nodes { id } }" + beside + "}")
    assert body["data"] is None
    (error,) = body["errors"]
    assert error["extensions"] == {"code": "BAD_INPUT", "field": "first", "classification": "ValidationError"}
    assert (error["path"], error["locations"]) == (["page"], [{"line": 1, "column": 3}])


async def test_an_unexpected_error_is_an_id_that_is_in_the_log_once(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(session.backend.listing, "advisors", fail)
    with caplog.at_level(logging.ERROR):
        body = await told(session, "{ advisors { nodes { id } } }")
    assert "swordfish" not in json.dumps(body)
    (error,) = body["errors"]
    assert error["extensions"]["code"] == "INTERNAL"
    ours = [line.getMessage() for line in caplog.records if line.name == "api.schema.execution"]
    assert [error["extensions"]["errorId"] in line for line in ours] == [True]


@pytest.mark.parametrize(
    "text",
    ["{ advisors { nodes { id } } }", "{ advisors { nodes { ...f @skip(if: false) } } } fragment f on Advisor { id }"],
)
async def test_a_query_that_takes_too_long_is_cancelled(
    session: Session, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    cancelled = asyncio.Event()

    async def hang(*_: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    monkeypatch.setattr(session.backend.listing, "advisors", hang)
    monkeypatch.setattr(execution, "QUERY_SECONDS", 0.05)
    body = await told(session, text)
    assert (body["data"], body["errors"][0]["extensions"]) == (None, {"code": "TIMEOUT"})
    await asyncio.wait_for(cancelled.wait(), 5.0)


# --- sharing ----------------------------------------------------------------------------------------------------------

LIST = "query($n: Int!) { portfolios(first: $n) { nodes { portfolioId } } }"


async def test_a_list_that_several_ask_for_at_once_is_read_once(
    session: Session, seed: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed.write(make.snapshot("p-1"))
    read = session.backend.listing.portfolios
    reads = []

    async def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return await read(*arguments)

    monkeypatch.setattr(session.backend.listing, "portfolios", counted)
    prepared = prepare(LIST)
    answers = await asyncio.gather(*(answer(session, prepare(LIST) and prepared, {"n": 60}, None) for _ in range(20)))
    assert (len(set(answers)), len(reads)) == (1, 1)
    # Another question, and one that comes later, are read anew.
    await asyncio.gather(*(answer(session, prepared, {"n": n}, None) for n in (60, 61)))
    assert len(reads) == 3


async def test_a_caller_who_leaves_takes_nobody_along(session: Session, seed: Any, make: Any) -> None:
    await seed.write(make.snapshot("p-1"))
    prepared = prepare(LIST)
    leaving, staying = (asyncio.create_task(answer(session, prepared, {"n": 60}, None)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert json.loads(await staying)["data"]["portfolios"]["nodes"] == [{"portfolioId": "p-1"}]
    assert leaving.cancelled() or not await asyncio.wait({leaving}, timeout=1.0) or leaving.cancelled()


async def test_reads_of_one_moment_are_one_round_trip_and_each_key_once(make: Any) -> None:
    trips: list[list[str]] = []
    one = make.snapshot()

    async def read(keys: Any) -> list[bytes | None]:
        trips.append(list(keys))
        return [None if key == "none" else encode(replaced(one, portfolio_id=key)) for key in keys]

    strings = Strings(read, keys_max=3)
    found = await asyncio.gather(*(strings.get(keys, RiskSnapshot) for keys in (["a", "b"], ["b", "none"], ["c"])))
    assert [[each and each.portfolio_id for each in each_reader] for each_reader in found] == [
        ["a", "b"],
        ["b", None],
        ["c"],
    ]
    # Two and two are more than three, though one of them is the same; what is left goes together.
    assert trips == [["a", "b"], ["b", "none", "c"]]
    assert [each and each.portfolio_id for each in await strings.get(["d", "e", "f", "g"], RiskSnapshot)] == [
        "d",
        "e",
        "f",
        "g",
    ]
    assert trips[2:] == [["d", "e", "f"], ["g"]]


async def test_what_is_asked_for_while_a_round_trip_is_on_its_way_gathers_for_the_next() -> None:
    trips: list[list[str]] = []
    away, back = asyncio.Event(), asyncio.Event()

    async def read(keys: Any) -> list[bytes | None]:
        trips.append(list(keys))
        away.set()
        await back.wait()
        return [None for _ in keys]

    async def asked(keys: list[str]) -> list[RiskSnapshot | None]:
        return await strings.get(keys, RiskSnapshot)

    strings = Strings(read, keys_max=10)
    first = asyncio.create_task(asked(["a"]))
    await away.wait()
    later = [asyncio.create_task(asked([key])) for key in "bcd"]
    # As often as it takes a task to begin.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert trips == [["a"]]
    back.set()
    await asyncio.gather(first, *later)
    assert trips == [["a"], ["b", "c", "d"]]


async def test_a_round_trip_that_fails_fails_all_its_readers_and_no_other() -> None:
    fails = iter([True, False])

    async def read(keys: Any) -> list[bytes | None]:
        if next(fails):
            raise ConnectionError("away")
        return [None for _ in keys]

    strings = Strings(read, keys_max=10)
    found = await asyncio.gather(*(strings.get([key], RiskSnapshot) for key in "ab"), return_exceptions=True)
    assert [type(each) for each in found] == [ConnectionError, ConnectionError]
    assert await strings.get(["a"], RiskSnapshot) == [None]
