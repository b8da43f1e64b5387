"""Alive and ready, answered from memory, with a reason."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from redis.exceptions import ResponseError

from api.app import create_app
from api.health import LATE_SECONDS, Check, Readiness
from plimsoll.errors import Refused, Unavailable
from plimsoll.settings import Settings
from plimsoll.transport import SIGN_IN

if TYPE_CHECKING:
    from tests.api.conftest import Client, Seed

pytestmark = pytest.mark.anyio


class Parts:
    """Stand-ins for all that is asked, and a clock."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = False
        self.age_ns: int | None = 1_000_000_000
        self.now_ns = 1_700_000_000_000_000_000
        self.now = 0.0
        self.fanout = SimpleNamespace(connected=True)
        self.publisher = SimpleNamespace(connected=True, refused=None)
        self.readiness = Readiness(
            cast("Any", self), cast("Any", self), cast("Any", self.fanout), cast("Any", self.publisher),
            lambda: self.now_ns, lambda: self.now,
        )  # fmt: skip

    async def ping(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    async def is_stale(self) -> bool:
        return self.age_ns is None or self.age_ns > 15_000_000_000

    async def age_of_heartbeat(self) -> int | None:
        return self.age_ns

    async def look(self) -> dict[str, Check]:
        await self.readiness.look()
        return {check.check: check for check in self.readiness.checks()}


class Engine:
    """The engine's state as the parts have it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def is_stale(self) -> bool:
        return await self._parts.is_stale()

    async def age_ns(self) -> int | None:
        return self._parts.age_ns


@pytest.fixture
def parts() -> Parts:
    made = Parts()
    made.readiness._engine = cast("Any", Engine(made))
    return made


async def test_what_is_well_is_said_to_be(parts: Parts) -> None:
    found = await parts.look()
    assert list(found) == ["checks", "redis", "subscriber", "kafka", "engine", "sign-in"]
    assert all(check.ok for check in found.values())
    assert parts.readiness.heartbeat_age_seconds == 1.0


async def test_a_kafka_that_refuses_us_is_told_from_one_that_is_away_and_names_nobody(parts: Parts) -> None:
    parts.publisher.connected = False
    assert (await parts.look())["kafka"].reason == "no broker answers: one can read, not change"
    parts.publisher.refused = Refused("Kafka", SIGN_IN, "at kafka:9093 as 'api'")
    found = await parts.look()
    assert found["kafka"].reason == "our sign-in is not taken; the log says more: one can read, not change"
    assert found["engine"].ok


async def test_what_is_away_is_named_with_its_reason_and_since_when(parts: Parts) -> None:
    await parts.look()
    began = parts.now_ns
    parts.error = Unavailable("Redis", "ConnectionError; answers return by themselves when it is back")
    parts.now_ns += 1_000_000_000
    await parts.look()
    parts.now_ns += 5_000_000_000
    found = await parts.look()
    assert (found["redis"].ok, found["redis"].required) == (False, True)
    assert "ConnectionError" in found["redis"].reason
    assert found["redis"].since == began + 1_000_000_000
    assert found["engine"].reason == "not known: Redis is away"
    assert found["subscriber"].since == began


async def test_a_redis_that_hangs_is_no_and_not_late(parts: Parts) -> None:
    parts.hangs = True
    found = await asyncio.wait_for(parts.look(), 5)
    assert not found["redis"].ok
    assert "within" in found["redis"].reason


async def test_a_redis_that_answers_with_an_error_is_away_too(parts: Parts) -> None:
    parts.error = ResponseError("NOPERM this user has no permissions")
    found = await parts.look()
    assert "ResponseError" in found["redis"].reason
    assert "REDIS_URL" in found["redis"].reason


async def test_an_engine_that_is_silent_does_not_stop_reading(parts: Parts) -> None:
    for age_ns, reason in ((None, "never heard of"), (60_000_000_000, "too old")):
        parts.age_ns = age_ns
        engine = (await parts.look())["engine"]
        assert (engine.ok, engine.required) == (False, False)
        assert reason in engine.reason


async def test_a_finding_that_is_old_is_none(parts: Parts) -> None:
    (first,) = parts.readiness.checks()
    assert (first.check, first.ok, first.reason) == ("checks", False, "not looked yet")
    assert (await parts.look())["checks"].ok
    parts.now += LATE_SECONDS + 0.1
    assert not parts.readiness.checks()[0].ok


async def test_alive_and_ready_are_answered_without_asking_anybody(client: Client, seed: Seed) -> None:
    asked = (await seed.redis.info("commandstats"))["cmdstat_ping"]["calls"]
    for _ in range(20):
        assert (await client.http.get("/live")).json() == {"status": "alive"}
        assert (await client.http.get("/ready")).status_code == 200
    assert (await seed.redis.info("commandstats"))["cmdstat_ping"]["calls"] - asked < 10


async def test_ready_says_every_check_with_its_reason(client: Client) -> None:
    response = await client.http.get("/ready")
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert body["status"] == "ready"
    by_name = {check["check"]: check for check in body["checks"]}
    assert set(by_name["redis"]) == {"check", "ok", "required", "reason", "since"}
    assert by_name["kafka"]["ok"] is False
    assert "no broker" in by_name["kafka"]["reason"]


async def test_without_redis_we_are_alive_and_not_ready() -> None:
    app = create_app(Settings(redis_url="redis://127.0.0.1:1", kafka_brokers="127.0.0.1:1"))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        assert (await http.get("/live")).status_code == 200
        response = await http.get("/ready")
    assert response.status_code == 503
    (redis,) = (check for check in response.json()["checks"] if check["check"] == "redis")
    assert "ConnectionError" in redis["reason"]
