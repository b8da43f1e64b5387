"""What the engine would have left in Redis, made by hand, and the API over it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import numpy as np
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms
from msgspec.structs import replace
from redis.asyncio import Redis
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.app import create_app
from api.identity import Caller
from api.patience import PatientProtocol
from api.tokens import Tokens
from plimsoll import keys
from plimsoll.messages import (
    AdvisorPnl,
    BacktestRecord,
    Heartbeat,
    Mark,
    Moved,
    PortfolioRecord,
    Replay,
    RiskBatch,
    RiskPoint,
    RiskSnapshot,
    RiskTolerance,
    ScenarioSetRecord,
    encode,
)
from plimsoll.risk import scenarios
from plimsoll.risk.scenarios import Closes, ScenarioSet
from plimsoll.settings import Settings

NOWHERE = "127.0.0.1:1"
"""A broker's address where nobody listens."""
DEADLINE_SECONDS = 10.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def a_snapshot(portfolio_id: str = "p-1", advisor_id: str = "advisor-1", **stated: Any) -> RiskSnapshot:
    """A snapshot with every field; `number` is a short way to state the risk number."""
    snapshot = RiskSnapshot(
        sequence="1",
        advisor_id=advisor_id,
        portfolio_id=portfolio_id,
        client_id="client-1",
        risk_tolerance=RiskTolerance.MODERATE,
        as_of_ns=1_700_000_000_000_000_000,
        calculated_at_ns=1_700_000_000_250_000_000,
        market_value=51_243.75,
        gross_exposure=51_243.75,
        net_exposure=51_243.75,
        long_exposure=51_243.75,
        short_exposure=0.0,
        cash=0.0,
        var_95=1_000.0,
        var_99=1_500.0,
        es_975=1_450.0,
        var_95_fraction=0.0195,
        var_99_fraction=0.0293,
        es_975_fraction=0.0283,
        volatility=0.2,
        expected_return=0.08,
        sharpe_ratio=0.4,
        sortino_ratio=0.6,
        beta=1.1,
        tracking_error=0.05,
        max_drawdown=-0.3,
        effective_names=2.8,
        risk_number=50,
        risk_number_structural=44,
        day_pnl=-12.5,
        method="filtered_historical",
        horizon_days=1,
        observations=100,
        scenario_set_id="set-1",
        var_95_scenario_date="2020-03-12",
        coverage=1.0,
        incomplete_symbols=[],
        proxied_symbols=[],
        oldest_price_ns=1_700_000_000_000_000_000,
        calculation_time_ms=0.02,
        average_calculation_time_ms=0.03,
        calculations=7,
        source_partition=0,
        source_offset=0,
    )
    return replace(snapshot, **stated)


def a_record(portfolio_id: str = "p-1", advisor_id: str = "advisor-1", **stated: Any) -> PortfolioRecord:
    """Positions as the engine applied them."""
    record = PortfolioRecord(
        portfolio_id=portfolio_id,
        advisor_id=advisor_id,
        client_id="client-1",
        risk_tolerance=RiskTolerance.MODERATE,
        account_type="IRA",
        cash=1_000.0,
        symbols=["AAPL", "MSFT"],
        quantities=[100.0, 50.0],
        sectors=["Technology", None],
        event_time_ns=1_700_000_000_000_000_000,
        version=None,
        source_partition=0,
        source_offset=0,
    )
    return replace(record, **stated)


def a_heartbeat(index: int = 0, workers: int = 1, **stated: Any) -> Heartbeat:
    """A worker that is well, and spoke this moment."""
    now_ns = time.time_ns()
    beat = Heartbeat(
        worker_index=index,
        workers=workers,
        started_at_ns=now_ns,
        beat_at_ns=now_ns,
        state="running",
        portfolios=3,
        applied=10,
        stale=1,
        dead_lettered=0,
        calculations=1_000,
        average_calculation_time_ms=0.02,
        published=900,
        scenario_set_id="set-1",
        last_session="2020-02-19",
        market_source="replay",
        replay=Replay("2020-02-20", 20.0),
    )
    return replace(beat, **stated)


def a_scenario_set(sessions: int = 101, **stated: Any) -> ScenarioSet:
    """100 scenarios of AAPL, MSFT and the benchmark, the same at every call; `stated` as `scenarios.build` takes it."""
    rng = np.random.default_rng(7)
    days = np.datetime64("2019-11-01") + np.arange(sessions)
    walk = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (sessions, 3)), axis=0))
    closes = Closes(tuple(days.astype(str).tolist()), ("AAPL", "MSFT", "SP500"), walk)
    return scenarios.build(closes, "SP500", 100, **stated)


def a_scenario_set_record(made: ScenarioSet) -> ScenarioSetRecord:
    """A set as the engine states it."""
    return ScenarioSetRecord(
        scenario_set_id=made.scenario_set_id,
        benchmark=made.benchmark or "",
        window=made.window,
        decay=made.decay,
        symbols=list(made.closes.symbols),
        sessions=list(made.closes.sessions),
        closes=made.closes.price.tobytes(),
        sectors=dict(made.sectors),
        stress_returns={stress_id: dict(returns) for stress_id, returns in made.stress_returns.items()},
    )


def score_of(snapshot: RiskSnapshot) -> float:
    return 0.0 if snapshot.risk_number is None else float(snapshot.risk_number)


class Seed:
    """Writes what the engine would."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def write(
        self, snapshot: RiskSnapshot, record: PortfolioRecord | None = None, score: float | None = None
    ) -> None:
        """A snapshot, its indexes and its positions; nobody is told."""
        portfolio_id, advisor_id = snapshot.portfolio_id, snapshot.advisor_id
        held = record or a_record(portfolio_id, advisor_id)
        pipeline = self.redis.pipeline()
        pipeline.set(keys.risk(portfolio_id), encode(snapshot))
        pipeline.set(keys.portfolio(portfolio_id), encode(held))
        for index, at in (
            (keys.by_risk, score_of(snapshot) if score is None else score),
            (keys.by_id, 0.0),
        ):
            pipeline.zadd(index(), {portfolio_id: at})
            pipeline.zadd(index(advisor_id), {portfolio_id: at})
        pipeline.zadd(keys.ADVISORS, {advisor_id: 0.0})
        await pipeline.execute()

    async def publish(self, snapshot: RiskSnapshot) -> None:
        """A snapshot, and everyone is told."""
        await self.write(snapshot)
        await self.tell(snapshot.advisor_id, RiskBatch(snapshots=[snapshot]))

    async def tell(self, advisor_id: str, batch: RiskBatch) -> None:
        await self.redis.publish(keys.risk_channel(advisor_id), encode(batch))

    async def move(self, snapshot: RiskSnapshot, from_advisor: str) -> None:
        """The portfolio is another advisor's from this snapshot on."""
        await self._leave(snapshot.portfolio_id, from_advisor)
        await self.write(snapshot)
        await self.tell(from_advisor, RiskBatch(moved=[Moved(snapshot.portfolio_id, snapshot.advisor_id)]))
        await self.tell(snapshot.advisor_id, RiskBatch(snapshots=[snapshot]))

    async def close(self, portfolio_id: str, advisor_id: str, sequence: str = "999") -> None:
        """The portfolio is no more."""
        await self.redis.hset(keys.CLOSED, portfolio_id, sequence)
        await self.redis.delete(keys.risk(portfolio_id), keys.portfolio(portfolio_id), keys.history(portfolio_id))
        await self.redis.zrem(keys.by_risk(), portfolio_id)
        await self.redis.zrem(keys.by_id(), portfolio_id)
        await self._leave(portfolio_id, advisor_id)
        await self.tell(advisor_id, RiskBatch(closed=[portfolio_id]))

    async def _leave(self, portfolio_id: str, advisor_id: str) -> None:
        await self.redis.zrem(keys.by_risk(advisor_id), portfolio_id)
        await self.redis.zrem(keys.by_id(advisor_id), portfolio_id)
        if not await self.redis.exists(keys.by_id(advisor_id)):
            await self.redis.zrem(keys.ADVISORS, advisor_id)

    async def marks(self, **prices: float) -> None:
        for symbol, price in prices.items():
            mark = Mark(price, 1_700_000_000_000_000_000, previous_close=price / 1.01)
            await self.redis.hset(keys.MARKS, symbol, encode(mark))

    async def scenario_set(self, scenario_set: ScenarioSet | None = None) -> ScenarioSet:
        made = scenario_set or a_scenario_set()
        record = a_scenario_set_record(made)
        await self.redis.set(keys.scenario_set(made.scenario_set_id), encode(record))
        await self.redis.set(keys.CURRENT_SCENARIO_SET, made.scenario_set_id)
        return made

    async def backtest(self, record: BacktestRecord) -> None:
        await self.redis.set(keys.backtest(record.portfolio_id), encode(record))

    async def heartbeat(self, index: int = 0, workers: int = 1, **stated: Any) -> None:
        await self.redis.hset(keys.ENGINE, f"{index}/{workers}", encode(a_heartbeat(index, workers, **stated)))

    async def advisor_pnl(self, advisor_id: str, worker: str, pnl: AdvisorPnl) -> None:
        await self.redis.hset(keys.advisor_pnl(advisor_id), worker, encode(pnl))
        await self.redis.zadd(keys.ADVISORS, {advisor_id: 0.0})

    async def history(self, portfolio_id: str, minutes_ms: list[int]) -> None:
        for number, minute_ms in enumerate(minutes_ms, start=1):
            point = RiskPoint(str(number), minute_ms * 1_000_000, 100.0 * number, 1.0, 2.0, 0.2, number)
            await self.redis.xadd(keys.history(portfolio_id), {"point": encode(point)}, id=f"{minute_ms}-0")


@pytest.fixture
async def seed(redis_url: str) -> AsyncIterator[Seed]:
    redis = Redis.from_url(redis_url)
    yield Seed(redis)
    await redis.aclose()


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Redis is there, Kafka is not."""
    return Settings(redis_url=redis_url, kafka_brokers=NOWHERE)


Keys = dict[str, tuple[Any, str]]
"""Key id -> a private key and the algorithm it signs by."""


def new_keys() -> Keys:
    """One of each kind."""
    return {
        "rsa-1": (rsa.generate_private_key(65_537, 2_048), "RS256"),
        "ec-1": (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        "ed-1": (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    }


class Issuer:
    """An identity provider: its keys, the set it publishes as a file, and tokens signed with them."""

    def __init__(self, path: Path, keys: Keys) -> None:
        self.path = path
        self.keys = dict(keys)
        self.publish()

    def stranger(self, path: Path) -> Issuer:
        """Another one, whose keys have the same ids."""
        return Issuer(path, new_keys())

    def jwk(self, kid: str, /, **stated: Any) -> dict[str, Any]:
        """The public half of a key, as a set has it."""
        private, algorithm = self.keys[kid]
        made: Any = get_default_algorithms()[algorithm]
        return {**made.to_jwk(private.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": algorithm} | stated

    def public_pem(self, kid: str) -> bytes:
        private, _ = self.keys[kid]
        pem: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def publish(self, *kids: str) -> None:
        """Write the set: these keys, or all of them."""
        keys = [self.jwk(kid) for kid in kids or self.keys]
        self.path.write_text(json.dumps({"keys": keys}), encoding="utf-8")

    def token(
        self, *, kid: str = "rsa-1", header: dict[str, Any] | None = None, without: tuple[str, ...] = (), **claims: Any
    ) -> str:
        """A token of advisor-1 that is in order, but for what is stated otherwise."""
        now = int(time.time())
        stated = {
            "iss": "plimsoll",
            "aud": "plimsoll",
            "sub": "ada",
            "iat": now,
            "exp": now + 600,
            "roles": ["advisor"],
            "advisor_id": "advisor-1",
        } | claims
        private, algorithm = self.keys[kid]
        claimed = {name: value for name, value in stated.items() if name not in without}
        return jwt.encode(claimed, private, algorithm=algorithm, headers={"kid": kid} | (header or {}))

    def bearer(self, **stated: Any) -> dict[str, str]:
        """The same as a header."""
        return {"authorization": f"Bearer {self.token(**stated)}"}


@pytest.fixture(scope="session")
def signing_keys() -> Keys:
    return new_keys()


@pytest.fixture
def issuer(tmp_path: Path, signing_keys: Keys) -> Issuer:
    return Issuer(tmp_path / "jwks.json", signing_keys)


@pytest.fixture
def app(settings: Settings) -> Starlette:
    return create_app(settings)


@dataclass
class Client:
    """Asks the application in this process."""

    http: httpx.AsyncClient
    app: Starlette

    async def ask(self, query: str, **variables: Any) -> Any:
        """The data of an operation that succeeds."""
        answer = await self.answer(query, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def refused(self, query: str, **variables: Any) -> dict[str, Any]:
        """The one error of an operation that fails."""
        answer = await self.answer(query, **variables)
        assert len(answer["errors"]) == 1
        error: dict[str, Any] = answer["errors"][0]
        return error

    async def answer(self, query: str, **variables: Any) -> Any:
        response = await self.http.post("/graphql", json={"query": query, "variables": variables})
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://plimsoll.localhost") as http,
    ):
        yield Client(http, app)


@dataclass
class Socket:
    """A client of graphql-transport-ws."""

    connection: ClientConnection
    streams: dict[str, asyncio.Queue[dict[str, Any]]] = field(default_factory=dict)
    reader: asyncio.Task[None] | None = None

    async def start(self, query: str, **variables: Any) -> str:
        """Subscribe; the id of the operation."""
        operation_id = f"operation-{len(self.streams)}"
        self.streams[operation_id] = asyncio.Queue()
        await self.send({"id": operation_id, "type": "subscribe", "payload": {"query": query, "variables": variables}})
        return operation_id

    async def stop(self, operation_id: str) -> None:
        await self.send({"id": operation_id, "type": "complete"})

    async def send(self, message: object) -> None:
        await self.connection.send(json.dumps(message))

    async def message(self, operation_id: str = "operation-0") -> dict[str, Any]:
        """The next message of an operation, whatever it is."""
        return await asyncio.wait_for(self.streams[operation_id].get(), DEADLINE_SECONDS)

    async def event(self, operation_id: str = "operation-0") -> Any:
        """The only field of the next event of an operation."""
        message = await self.message(operation_id)
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        (value,) = message["payload"]["data"].values()
        return value

    async def read(self) -> None:
        async for raw in self.connection:
            assert isinstance(raw, str), "a frame that is not text"
            message = json.loads(raw)
            if message["type"] != "connection_ack" and "id" in message:
                self.streams[message["id"]].put_nowait(message)


@dataclass
class Served:
    """The application behind a real server."""

    url: str
    app: Starlette
    stack: contextlib.AsyncExitStack
    connections: set[Any]
    """uvicorn's, of clients that are there."""

    async def socket(self) -> Socket:
        """A socket that is acknowledged; closed with the server."""
        address = self.url.replace("http", "ws") + "/graphql"
        protocols = [Subprotocol("graphql-transport-ws")]
        connection = await self.stack.enter_async_context(connect(address, subprotocols=protocols))
        socket = Socket(connection)
        await socket.send({"type": "connection_init"})
        assert json.loads(await asyncio.wait_for(connection.recv(), DEADLINE_SECONDS))["type"] == "connection_ack"
        socket.reader = asyncio.create_task(socket.read())
        self.stack.callback(socket.reader.cancel)
        return socket


@pytest.fixture
def tokens_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token that is verified from now on, instead of being remembered or refused unseen."""
    found: list[str] = []
    read = Tokens._read

    async def reading(tokens: Tokens, token: str) -> Caller:
        found.append(token)
        return await read(tokens, token)

    monkeypatch.setattr(Tokens, "_read", reading)
    return found


@pytest.fixture
def socket_protocol() -> str:
    """What serves websockets, in uvicorn's terms."""
    return "api.server_socket:FrameProtocol"


@pytest.fixture
async def served(app: Starlette, socket_protocol: str) -> AsyncIterator[Served]:
    config = uvicorn.Config(
        app,
        port=0,
        http=PatientProtocol,
        ws=socket_protocol,
        ws_max_size=65_536,
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]  # pytest keeps its signals
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with contextlib.AsyncExitStack() as stack:
        yield Served(f"http://127.0.0.1:{port}", app, stack, server.server_state.connections)
    server.should_exit = True
    await asyncio.wait_for(task, DEADLINE_SECONDS)


async def eventually(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait for a condition, at most ten seconds. It may be a coroutine function."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"{what} did not come true"
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Make:
    """The makers above, for tests: a conftest cannot be imported."""

    snapshot: Callable[..., RiskSnapshot]
    record: Callable[..., PortfolioRecord]
    heartbeat: Callable[..., Heartbeat]
    scenario_set: Callable[..., ScenarioSet]
    scenario_set_record: Callable[[ScenarioSet], ScenarioSetRecord]
    eventually: Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def make() -> Make:
    return Make(a_snapshot, a_record, a_heartbeat, a_scenario_set, a_scenario_set_record, eventually)
