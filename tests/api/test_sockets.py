"""Both protocols over real sockets, and over both ways in which frames leave: what each message leads to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from api.errors import Forbidden, NotAdmitted
from api.identity import ANYONE, Caller, Role
from api.persisted import Documents
from api.sockets.codes import Code, reason
from api.sockets.registry import Limits
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Issuer, Make, Seed, Served

pytestmark = pytest.mark.anyio

RISK = """subscription($id: ID!) { portfolioRisk(portfolioId: $id) {
  reason previousSequence risk { portfolioId sequence stale } } }"""
MODERN, LEGACY = "graphql-transport-ws", "graphql-ws"
MANAGER = Caller("manager@example.com", frozenset((Role.RISK_MANAGER,)))


@pytest.fixture(params=["api.server_socket:FrameProtocol", "websockets-sansio"], ids=["frames", "asgi"])
def socket_protocol(request: pytest.FixtureRequest) -> str:
    return request.param


class Speaker:
    """A client that says what it is told to, and hears all there is to hear."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, *messages: Mapping[str, Any] | str | bytes) -> None:
        for message in messages:
            await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        raw = await asyncio.wait_for(self.connection.recv(), 10)
        assert isinstance(raw, str), "a frame that is not text"
        heard: dict[str, Any] = json.loads(raw)
        return heard

    async def hear_out(self) -> None:
        while True:
            await asyncio.wait_for(self.connection.recv(), 10)

    async def closed(self) -> tuple[int, str]:
        """The code and the reason with which the server closes, whatever it says before."""
        with pytest.raises(ConnectionClosed) as closed:
            await self.hear_out()
        received = closed.value.rcvd
        assert received is not None
        return received.code, received.reason


Open = Callable[..., Awaitable[Speaker]]


@pytest.fixture
def open_socket(served: Served) -> Open:
    async def open_socket(protocol: str | None = MODERN, *, initialised: bool = True, **stated: Any) -> Speaker:
        spoken = None if protocol is None else [Subprotocol(protocol)]
        address = served.url.replace("http", "ws") + "/graphql"
        connection = await served.stack.enter_async_context(connect(address, subprotocols=spoken, **stated))
        speaker = Speaker(connection)
        if initialised:
            await speaker.say({"type": "connection_init"})
            assert await speaker.hear() == {"type": "connection_ack"}
        return speaker

    return open_socket


@pytest.fixture
def limit(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Holds sockets to other limits than the usual ones, and looks after them ten times as often."""
    sockets = served.app.state.sockets

    def limit(**stated: Any) -> None:
        values = {name: getattr(sockets.limits, name) for name in Limits.__dataclass_fields__}
        monkeypatch.setattr(sockets, "limits", Limits(**{**values, "look_seconds": 0.1, **stated}))

    return limit


@pytest.fixture
def admit(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[[Caller], None]:
    """Lets every socket in as this caller."""

    def admit(caller: Caller) -> None:
        async def socket(_params: object, _headers: object) -> Caller:
            return caller

        monkeypatch.setattr(served.app.state.backend.admission, "socket", socket, raising=False)

    return admit


def subscribe(portfolio_id: str = "p-1", operation_id: str = "1", protocol: str = MODERN) -> dict[str, Any]:
    kind = "subscribe" if protocol == MODERN else "start"
    return {"id": operation_id, "type": kind, "payload": {"query": RISK, "variables": {"id": portfolio_id}}}


def asked(query: str, operation_id: str = "1", **payload: Any) -> dict[str, Any]:
    return {"id": operation_id, "type": "subscribe", "payload": {"query": query, **payload}}


# --- the conversation -------------------------------------------------------------------------------------------------


async def test_an_operation_before_the_initialisation_is_refused(open_socket: Open) -> None:
    socket = await open_socket(initialised=False)
    await socket.say(subscribe())
    assert (await socket.closed())[0] == 4401


async def test_a_socket_is_initialised_once(open_socket: Open) -> None:
    socket = await open_socket()
    await socket.say({"type": "connection_init"})
    assert await socket.closed() == (4429, "Too many initialisation requests")


async def test_who_does_not_initialise_in_time_is_closed(open_socket: Open, limit: Callable[..., None]) -> None:
    limit(init_seconds=0.1)
    socket = await open_socket(initialised=False)
    assert await socket.closed() == (4408, "Connection initialisation timeout")


@pytest.mark.parametrize("offered", [None, "graphql-sse"])
async def test_a_protocol_that_is_not_ours_is_refused(open_socket: Open, offered: str | None) -> None:
    socket = await open_socket(offered, initialised=False)
    assert (await socket.closed())[0] == 4406


async def test_an_id_is_used_once_at_a_time(open_socket: Open, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    socket = await open_socket()
    await socket.say(subscribe(), subscribe())
    assert await socket.closed() == (4409, "Subscriber for 1 already exists")


async def test_an_id_may_be_used_again_once_it_is_complete(open_socket: Open, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot())
    socket = await open_socket()
    await socket.say(subscribe())
    await socket.hear()
    await socket.say({"id": "1", "type": "complete"}, subscribe())
    assert (await socket.hear())["payload"]["data"]["portfolioRisk"]["reason"] == "SNAPSHOT"


async def test_each_side_may_ask_whether_the_other_is_there(open_socket: Open, limit: Callable[..., None]) -> None:
    limit(quiet_seconds=0.1)
    socket = await open_socket()
    await socket.say({"type": "ping", "payload": {"at": 1}})
    assert await socket.hear() == {"type": "pong", "payload": {"at": 1}}
    await socket.say({"type": "ping"})
    assert await socket.hear() == {"type": "pong"}
    assert await socket.hear() == {"type": "ping"}
    await socket.say({"type": "pong"})
    assert await socket.hear() == {"type": "ping"}


async def test_a_client_that_does_not_answer_a_ping_is_gone(open_socket: Open, limit: Callable[..., None]) -> None:
    limit(quiet_seconds=0.1, pong_seconds=0.1)
    socket = await open_socket()
    code, why = await socket.closed()
    assert (code, "pong" in why) == (Code.TOO_SLOW, True)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 4400),
        ("NaN", 4400),
        ("[1]", 4400),
        ('"text"', 4400),
        ("[" * 20_000, 4400),
        ('{"a":' * 5_000, 4400),
        ("{}", 4400),
        ('{"type":7}', 4400),
        ('{"type":"nonsense"}', 4400),
        ('{"type":"start","id":"1","payload":{"query":"{ __typename }"}}', 4400),
        ('{"type":"ping","payload":7}', 4400),
        ('{"type":"subscribe"}', 4400),
        ('{"type":"subscribe","id":7,"payload":{"query":"{ __typename }"}}', 4400),
        ('{"type":"subscribe","id":"","payload":{"query":"{ __typename }"}}', 4400),
        ('{"type":"subscribe","id":"%s","payload":{"query":"{ __typename }"}}' % ("x" * 300), 4400),
        ('{"type":"subscribe","id":"1","payload":[]}', 4400),
        ('{"type":"subscribe","id":"1","payload":{}}', 4400),
        ('{"type":"subscribe","id":"1","payload":{"query":7}}', 4400),
        ('{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","variables":[]}}', 4400),
        ('{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","operationName":1}}', 4400),
        ('{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","extensions":1}}', 4400),
        ('{"type":"complete"}', 4400),
        (b"{}", 4400),
        ('{"type":"ping","payload":{"a":"%s"}}' % ("x" * 65_536), 1009),
        ('{"type":"ping","payload":{"a":%s}}' % ("9" * 5_000), 4400),
    ],
)
async def test_a_message_that_is_none_closes_the_socket_and_says_why(
    open_socket: Open, caplog: pytest.LogCaptureFixture, message: str | bytes, code: int
) -> None:
    socket = await open_socket()
    await socket.say(message)
    closed_with, why = await socket.closed()
    assert closed_with == code
    assert why or code != 4400
    assert "Traceback" not in caplog.text


async def test_text_that_is_not_utf_8_closes_the_socket(
    open_socket: Open, caplog: pytest.LogCaptureFixture, socket_protocol: str
) -> None:
    socket = await open_socket()
    # As a text frame: `send` would not write one.
    socket.connection.protocol.send_text(b"\xff\xfe")
    socket.connection.send_data()
    assert (await socket.closed())[0] == 1007
    if socket_protocol != "websockets-sansio":  # uvicorn's own says so with a traceback
        assert "Traceback" not in caplog.text


async def test_too_many_messages_close_the_socket(open_socket: Open, limit: Callable[..., None]) -> None:
    limit(messages_per_second=1, message_burst=5)
    socket = await open_socket()
    await socket.say(*[{"type": "pong"}] * 10)
    code, why = await socket.closed()
    assert (code, "messages a second" in why) == (Code.TOO_MANY, True)


# --- operations -------------------------------------------------------------------------------------------------------


async def test_queries_and_mutations_are_answered_and_complete(open_socket: Open, seed: Seed, make: Make) -> None:
    await seed.write(make.snapshot(sequence="7"))
    socket = await open_socket()
    await socket.say(asked('{ portfolioRisk(portfolioId: "p-1") { sequence } }'))
    assert await socket.hear() == {
        "id": "1", "type": "next", "payload": {"data": {"portfolioRisk": {"sequence": "7"}}},
    }  # fmt: skip
    assert await socket.hear() == {"id": "1", "type": "complete"}

    mutation = 'mutation { simulatePortfolioUpdate(input: {portfolioId: "no id"}) { __typename } }'
    await socket.say(asked(mutation, "2"))
    answered = await socket.hear()
    assert answered["payload"]["data"]["simulatePortfolioUpdate"]["__typename"].endswith("Problem")
    assert await socket.hear() == {"id": "2", "type": "complete"}


@pytest.mark.parametrize(
    "message",
    [
        asked("subscription {"),
        asked("{ nonsense }"),
        asked("query A { __typename } query B { __typename }"),
        asked("query A { __typename }", operationName="B"),
        asked(RISK),
        asked(RISK, variables={"id": None}),
        asked("subscription { portfolioRisk(portfolioId: 1) { risk { alignment } } }"),
        asked("subscription { atRisk { change } a: atRisk { change } }"),
        asked("{ portfolios(first: $n) { totalCount } }"),
    ],
)
async def test_what_is_wrong_with_an_operation_leaves_its_neighbours_alone(
    open_socket: Open, seed: Seed, make: Make, message: dict[str, Any]
) -> None:
    await seed.write(make.snapshot(sequence="1"))
    socket = await open_socket()
    await socket.say(subscribe(operation_id="neighbour"))
    assert (await socket.hear())["type"] == "next"
    await socket.say(message)
    refused = await socket.hear()
    assert (refused["id"], refused["type"]) == ("1", "error")
    assert all(each["message"] for each in refused["payload"])

    await seed.publish(make.snapshot(sequence="2"))
    assert (await socket.hear())["id"] == "neighbour"


async def test_an_error_of_ours_is_masked(open_socket: Open, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_portfolio_id: str) -> None:
        raise RuntimeError("redis://user:secret@host")

    monkeypatch.setattr(served.app.state.backend.store, "risk", broken)
    socket = await open_socket()
    await socket.say(subscribe())
    refused = await socket.hear()
    assert refused["payload"][0]["extensions"]["code"] == "INTERNAL"
    assert "secret" not in json.dumps(refused)


async def test_a_query_that_is_not_wanted_any_more_is_not_answered(
    open_socket: Open, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def slow(_ids: object) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(served.app.state.backend.store, "risks", slow)
    socket = await open_socket()
    await socket.say(asked('{ portfolioRisk(portfolioId: "p-1") { sequence } }'))
    await asyncio.wait_for(began.wait(), 10)
    await socket.say({"id": "1", "type": "complete"}, {"type": "ping"})
    assert await socket.hear() == {"type": "pong"}
    await asyncio.wait_for(ended.wait(), 10)


async def test_a_socket_carries_so_many_operations_and_no_more(
    open_socket: Open, limit: Callable[..., None], seed: Seed, make: Make
) -> None:
    limit(operations_per_socket=2)
    await seed.write(make.snapshot())
    socket = await open_socket()
    for operation_id in ("a", "b"):
        await socket.say(subscribe(operation_id=operation_id))
        assert (await socket.hear())["type"] == "next"
    await socket.say(subscribe(operation_id="c"))
    refused = await socket.hear()
    assert (refused["id"], refused["payload"][0]["extensions"]["code"]) == ("c", "TOO_MANY_OPERATIONS")
    await socket.say({"id": "a", "type": "complete"}, subscribe(operation_id="c"))
    assert (await socket.hear())["type"] == "next"


# --- who may ----------------------------------------------------------------------------------------------------------


async def test_who_is_not_admitted_is_closed_with_the_reason(
    open_socket: Open, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[object] = []

    async def nobody(params: object, headers: Mapping[str, str]) -> Caller:
        heard.extend((params, headers["host"]))
        raise NotAdmitted("the token has expired; sign in again")

    monkeypatch.setattr(served.app.state.backend.admission, "socket", nobody, raising=False)
    socket = await open_socket(initialised=False)
    await socket.say({"type": "connection_init", "payload": {"authorization": "Bearer secret"}})
    assert await socket.closed() == (4403, "Forbidden: the token has expired; sign in again")
    assert heard[0] == {"authorization": "Bearer secret"}


async def test_an_operation_that_the_roles_do_not_allow_is_an_error_of_its_own(
    open_socket: Open, monkeypatch: pytest.MonkeyPatch, seed: Seed, make: Make
) -> None:
    def nothing(_caller: object, _kind: object, root_fields: frozenset[str]) -> None:
        if "atRisk" in root_fields:
            raise Forbidden("atRisk needs the role risk_manager")

    monkeypatch.setattr("api.execution.require_roles", nothing)
    await seed.write(make.snapshot())
    socket = await open_socket()
    await socket.say(asked("subscription { atRisk { change } }"))
    refused = await socket.hear()
    assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "FORBIDDEN")
    await socket.say(subscribe())
    assert (await socket.hear())["type"] == "next"


async def test_a_socket_ends_with_what_its_caller_signed_in_with(open_socket: Open, admit: Any, served: Served) -> None:
    admit(Caller("brief", MANAGER.roles, expires_at=served.app.state.sockets._wall() + 0.3))
    socket = await open_socket()
    code, why = await socket.closed()
    assert (code, "expired" in why) == (Code.FORBIDDEN, True)


async def test_a_socket_ends_when_its_caller_is_not_admitted_any_more(
    open_socket: Open, admit: Any, served: Served, monkeypatch: pytest.MonkeyPatch, seed: Seed, make: Make
) -> None:
    admitted = {MANAGER.subject, "somebody else"}

    async def still(caller: Caller) -> bool:
        return caller.subject in admitted

    monkeypatch.setattr(served.app.state.backend.admission, "still", still, raising=False)
    await seed.write(make.snapshot())
    admit(MANAGER)
    socket = await open_socket()
    admit(Caller("somebody else", MANAGER.roles))
    other = await open_socket()
    admitted.remove(MANAGER.subject)
    await served.app.state.sockets.ask()
    code, why = await socket.closed()
    assert (code, "not admitted any more" in why) == (Code.FORBIDDEN, True)
    await other.say(subscribe())
    assert (await other.hear())["type"] == "next"


async def test_nobody_is_turned_out_because_it_cannot_be_asked(
    open_socket: Open, admit: Any, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(_caller: Caller) -> bool:
        raise OSError("the keys cannot be fetched")

    monkeypatch.setattr(served.app.state.backend.admission, "still", unknown, raising=False)
    admit(MANAGER)
    socket = await open_socket()
    await served.app.state.sockets.ask()
    await socket.say({"type": "ping"})
    assert await socket.hear() == {"type": "pong"}


async def test_one_caller_has_so_many_sockets_and_operations_and_no_more(
    open_socket: Open, admit: Any, limit: Callable[..., None], seed: Seed, make: Make
) -> None:
    limit(sockets_per_caller=2, operations_per_caller=3)
    await seed.write(make.snapshot())
    admit(MANAGER)
    first, second = await open_socket(), await open_socket()
    third = await open_socket(initialised=False)
    await third.say({"type": "connection_init"})
    code, why = await third.closed()
    assert (code, "one caller may have 2" in why) == (Code.TOO_MANY, True)

    for socket, operation_id in ((first, "a"), (second, "a"), (first, "b")):
        await socket.say(subscribe(operation_id=operation_id))
        assert (await socket.hear())["type"] == "next"
    await second.say(subscribe(operation_id="b"))
    assert (await second.hear())["payload"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"

    admit(ANYONE)
    for _ in range(3):
        await open_socket()


@pytest.mark.parametrize("route", ["graphql", "rest"])
async def test_streams_over_http_count_as_operations_of_their_caller(
    open_socket: Open, admit: Any, limit: Callable[..., None], seed: Seed, make: Make, served: Served,
    monkeypatch: pytest.MonkeyPatch, route: str,
) -> None:  # fmt: skip
    async def request(_headers: object) -> Caller:
        return MANAGER

    backend, sockets = served.app.state.backend, served.app.state.sockets
    monkeypatch.setattr(type(backend.admission), "required", property(lambda _: True))
    monkeypatch.setattr(backend.admission, "request", request, raising=False)
    monkeypatch.setattr(backend.admission, "still", _stays, raising=False)
    monkeypatch.setattr(backend.admission, "knows", lambda _headers: True, raising=False)
    limit(operations_per_caller=2)
    await seed.write(make.snapshot())
    admit(MANAGER)
    socket = await open_socket()
    await socket.say(subscribe(operation_id="a"))
    assert (await socket.hear())["type"] == "next"

    def streamed(http: httpx.AsyncClient) -> Any:
        if route == "rest":
            return http.stream("GET", "/stream/risk-updates?portfolio_id=p-1")
        body = {"query": RISK, "variables": {"id": "p-1"}}
        return http.stream("POST", "/graphql", json=body, headers={"accept": "text/event-stream"})

    async with httpx.AsyncClient(base_url=served.url, timeout=10) as http:
        async with streamed(http) as first, streamed(http) as second:
            assert (first.status_code, second.status_code) == (200, 429)
            assert b"2 operations" in await second.aread()
            await socket.say(subscribe(operation_id="b"))
            assert (await socket.hear())["payload"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
        await make.eventually(lambda: not sockets._streams, "a place that is free again")
        async with streamed(http) as again:
            assert again.status_code == 200


async def _stays(_caller: Caller) -> bool:
    return True


async def test_a_process_has_so_many_sockets_and_no_more(open_socket: Open, limit: Callable[..., None]) -> None:
    limit(sockets=1)
    first = await open_socket()
    with pytest.raises(InvalidStatus) as refused:
        await open_socket()
    assert refused.value.response.status_code == 503
    await first.connection.close()


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1:1", "http://[", "file://"])
async def test_a_page_of_another_site_opens_no_socket(open_socket: Open, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await open_socket(origin=Origin(origin))
    assert refused.value.response.status_code == 403


class TestWhereThereIsSignIn:
    """As over HTTP, a token that was never met costs its sender before it is looked at."""

    @pytest.fixture
    def settings(self, redis_url: str, issuer: Issuer) -> Settings:
        return Settings(
            redis_url=redis_url, kafka_brokers="127.0.0.1:1", auth="on", jwks=str(issuer.path), rate_signed_in=2
        )

    @pytest.fixture
    def opening(self, open_socket: Open) -> Callable[[Mapping[str, Any]], Awaitable[Speaker]]:
        async def opening(payload: Mapping[str, Any]) -> Speaker:
            socket = await open_socket(initialised=False)
            await socket.say({"type": "connection_init", "payload": payload})
            return socket

        return opening

    async def test_tokens_that_are_new_are_looked_at_so_often_and_one_that_is_known_at_any_time(
        self, opening: Any, served: Served, issuer: Issuer, tokens_read: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # However slow the machine is, nothing flows into the bucket meanwhile.
        monkeypatch.setattr(served.app.sockets._rates._strangers, "_clock", lambda: 0.0)  # type: ignore[attr-defined]
        good, bad = issuer.bearer(), issuer.bearer(aud="others")
        assert await (await opening(good)).hear() == {"type": "connection_ack"}
        answers = [await (await opening(bad)).closed() for _ in range(5)]
        assert [code for code, _ in answers] == [4403] * 3 + [4129] * 2
        assert answers[-1][1].startswith("too many requests; ask again in")
        assert len(tokens_read) == 1 + 3
        assert await (await opening(good)).hear() == {"type": "connection_ack"}

    @pytest.mark.parametrize("shown", [5, ["a"], "Basic YTpi", "", "Bearer"])
    async def test_what_is_no_token_at_all_is_turned_away_like_one_that_is_wrong(
        self, opening: Any, shown: object
    ) -> None:
        code, reason = await (await opening({"authorization": shown})).closed()
        assert code == 4403
        assert reason.startswith("Forbidden: ")


async def test_our_own_pages_may(open_socket: Open, served: Served) -> None:
    socket = await open_socket(origin=Origin(served.url))
    await socket.say({"type": "ping"})
    assert await socket.hear() == {"type": "pong"}


# --- the older protocol -----------------------------------------------------------------------------------------------


async def test_an_older_client_subscribes_and_stops(open_socket: Open, seed: Seed, make: Make, served: Served) -> None:
    await seed.write(make.snapshot(sequence="3"))
    socket = await open_socket(LEGACY)
    await socket.say(subscribe(protocol=LEGACY))
    first = await socket.hear()
    assert (first["id"], first["type"]) == ("1", "data")
    assert first["payload"]["data"]["portfolioRisk"]["risk"]["sequence"] == "3"
    await socket.say({"id": "1", "type": "stop"})
    await make.eventually(lambda: served.app.state.streams.readers == 0)
    await socket.say({"id": "2", "type": "start", "payload": {"query": "{ __typename }"}})
    assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}
    assert await socket.hear() == {"id": "2", "type": "complete"}
    await socket.say({"type": "connection_terminate"})
    assert (await socket.closed())[0] == 1000


async def test_an_older_client_is_told_of_one_error(open_socket: Open) -> None:
    socket = await open_socket(LEGACY)
    await socket.say({"id": "1", "type": "start", "payload": {"query": "{ nonsense }"}})
    refused = await socket.hear()
    assert "nonsense" in refused["payload"]["message"]


async def test_an_older_client_too_has_to_initialise_first(open_socket: Open) -> None:
    socket = await open_socket(LEGACY, initialised=False)
    await socket.say(subscribe(protocol=LEGACY))
    assert (await socket.closed())[0] == 4401


async def test_an_older_client_hears_why_it_is_not_admitted(
    open_socket: Open, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(_params: object, _headers: object) -> Caller:
        raise NotAdmitted("no token")

    monkeypatch.setattr(served.app.state.backend.admission, "socket", nobody, raising=False)
    socket = await open_socket(LEGACY, initialised=False)
    await socket.say({"type": "connection_init"})
    code, _ = await socket.closed()
    assert code == Code.FORBIDDEN


async def test_an_older_client_hears_a_heartbeat(open_socket: Open, limit: Callable[..., None]) -> None:
    limit(quiet_seconds=0.1, pong_seconds=0.1)
    socket = await open_socket(LEGACY)
    for _ in range(2):
        assert await socket.hear() == {"type": "ka"}


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_server_that_stops_says_come_back_at_once(
    open_socket: Open, served: Served, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot())
    socket = await open_socket()
    await socket.say(subscribe())
    await socket.hear()
    served.app.state.sockets.close_all(Code.RESTART, "this server stops")
    served.app.state.backend.fanout.end()
    assert (await socket.closed())[0] == 1012
    with pytest.raises(InvalidStatus):
        await open_socket()


async def test_a_socket_that_cannot_be_looked_after_is_closed_and_the_others_are_looked_after(
    open_socket: Open, limit: Callable[..., None], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(quiet_seconds=0.1)
    socket = await open_socket()
    (connection,) = served.app.state.sockets._open

    def broken() -> int:
        raise RuntimeError("of ours")

    monkeypatch.setattr(connection.outbox, "wire", type("Broken", (), {"unread": broken, "close": lambda _: None})())
    other = await open_socket()
    assert (await socket.closed())[0] == Code.INTERNAL
    assert await other.hear() == {"type": "ping"}


async def test_a_caller_who_leaves_leaves_nothing_behind(
    open_socket: Open, served: Served, seed: Seed, make: Make
) -> None:
    await seed.write(make.snapshot())
    socket = await open_socket()
    await socket.say(subscribe())
    await socket.hear()
    socket.connection.transport.abort()
    state = served.app.state
    await make.eventually(
        lambda: (len(state.sockets), state.streams.readers, state.backend.fanout.readers) == (0, 0, 0)
    )
    assert state.sockets.closed[1005] + state.sockets.closed[1006] == 1


async def test_only_documents_that_are_trusted_are_carried_out_over_a_socket_too(
    open_socket: Open, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = Documents({"known": "{ __typename }"}, trusted_only=True)
    monkeypatch.setattr(served.app.sockets, "_documents", trusted)
    socket = await open_socket()
    await socket.say(asked("{ a: __typename }"))
    refused = await socket.hear()
    assert (refused["type"], refused["payload"][0]["extensions"]["code"]) == ("error", "DOCUMENT_NOT_TRUSTED")
    await socket.say({"id": "2", "type": "subscribe", "payload": {"documentId": "known"}})
    assert (await socket.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_what_happens_on_sockets_is_counted(
    open_socket: Open, limit: Callable[..., None], served: Served, seed: Seed, make: Make
) -> None:
    limit(look_seconds=0.02)
    await seed.write(make.snapshot())
    telemetry, socket = served.app.state.backend.telemetry, await open_socket()
    await socket.say(subscribe())
    await socket.hear()
    running = ("portfolioRisk", "graphql-transport-ws")
    assert (telemetry.sockets_open["graphql-transport-ws"], telemetry.running[running]) == (1, 1)
    await make.eventually(lambda: telemetry.messages_sent >= 2)  # the acknowledgement, and a snapshot
    await socket.say({"type": "nonsense"})
    assert (await socket.closed())[0] == Code.BAD_MESSAGE
    await make.eventually(lambda: telemetry.sockets_closed["graphql-transport-ws", "4400", "server"] == 1)
    assert (telemetry.sockets_open["graphql-transport-ws"], telemetry.running[running]) == (0, 0)
    assert telemetry.operations["subscription", "portfolioRisk", "graphql-transport-ws", "cancelled"].count == 1


def test_a_reason_fits_into_a_close_frame() -> None:
    assert len(reason("€" * 100).encode()) <= 123
    assert reason("short") == "short"
    assert msgspec.json.encode(reason("€" * 100))
