"""What the engine left in Redis, read and typed. Reads only: this module writes nothing and computes nothing.

Every read is one round trip, or one for each `BATCH` keys, and touches only keys that it can name: never KEYS, never
SCAN. A store that is away raises `Unavailable` and nothing else. Whoever reads twice may see two states: the engine
writes all the while.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from api.gather import Strings
from plimsoll import keys, transport
from plimsoll.errors import Unavailable
from plimsoll.logs import AtMostEvery
from plimsoll.messages import (
    AdvisorPnl,
    BacktestRecord,
    Heartbeat,
    Mark,
    PortfolioRecord,
    RiskPoint,
    RiskSnapshot,
    ScenarioSetRecord,
    decode,
)

BATCH = 500
"""Keys of one MGET: about 600 KB of snapshots, a few milliseconds of decoding."""
ADVISORS_AT_ONCE = 50
"""Of an advisor some 20 KB of P&L are decoded; with more of them in one go, the loop would stand still meanwhile."""
CONNECTIONS_MAX = 32
"""Commands in flight for each process; more wait their turn for `_TIMEOUT_SECONDS`."""
HISTORY_MAX = 11_000
"""Points of one answer, and more than the engine keeps: of its 10,000 Redis drops only whole nodes of a hundred."""

_refused_log = logging.getLogger(f"{__name__}.refused")
_refused_log.addFilter(AtMostEvery(seconds=10.0))
_TIMEOUT_SECONDS = 5.0
_NANOSECONDS_PER_MS = 1_000_000
_MS_PER_MINUTE = 60_000
_NANOSECONDS_PER_MINUTE = _MS_PER_MINUTE * _NANOSECONDS_PER_MS
_AWAY = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError, OSError)


class RiskFigures(msgspec.Struct, gc=False):
    """The two numbers of a snapshot that totals are made of; reading no more is four times quicker."""

    var_95: float
    risk_number: int | None


def connect(at: transport.Redis) -> Redis:
    """A client for this process. Nothing is opened yet, so a store that is away is met at the first read."""
    pool = BlockingConnectionPool.from_url(
        **at.redis_py(),
        max_connections=CONNECTIONS_MAX,
        timeout=_TIMEOUT_SECONDS,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        # One quick retry: the first command after a restart meets a connection that died unseen.
        retry=Retry(ExponentialWithJitterBackoff(cap=0.1, base=0.01), 1),
        health_check_interval=0,
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def reaching_redis() -> AsyncIterator[None]:
    """Turn every way in which Redis can be away into `Unavailable`."""
    try:
        yield
    except (*_AWAY, NoPermissionError) as error:
        if what := transport.redis_refuses(error):
            # The names are for the log: whoever asks has only to know that it is not their doing.
            _refused_log.error("Redis refuses us, %s: %s (docs/SECURITY.md)", what, error)
            raise Unavailable("Redis", f"{what}; the server's log says more") from error
        raise Unavailable("Redis", f"{type(error).__name__}; answers return by themselves when it is back") from error


def text(raw: bytes | str) -> str:
    """An id as Redis gives it. The client's types allow for both, its settings here make it bytes."""
    return raw.decode() if isinstance(raw, bytes) else raw


class SnapshotStore:
    """Typed reads. Ids must be identifiers: whoever lets one in from outside has checked it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._strings = Strings(self._mget, BATCH)
        self._scenario_set: ScenarioSetRecord | None = None

    async def ping(self) -> None:
        """Return when Redis answers. Raises `Unavailable`."""
        async with reaching_redis():
            await self._redis.ping()

    async def risk(self, portfolio_id: str) -> RiskSnapshot | None:
        """A portfolio's newest snapshot; None where there is none."""
        return (await self.risks([portfolio_id]))[0]

    async def risks(self, portfolio_ids: Sequence[str]) -> list[RiskSnapshot | None]:
        """The newest snapshot of each, in the order asked for."""
        return await self._strings.get([keys.risk(each) for each in portfolio_ids], RiskSnapshot)

    async def risk_figures(self, portfolio_ids: Sequence[str]) -> list[RiskFigures | None]:
        """Value at risk and risk number of each, in the order asked for."""
        return await self._strings.get([keys.risk(each) for each in portfolio_ids], RiskFigures)

    async def record(self, portfolio_id: str) -> PortfolioRecord | None:
        """A portfolio's positions as the engine applied them; None where there is none."""
        return (await self.records([portfolio_id]))[0]

    async def records(self, portfolio_ids: Sequence[str]) -> list[PortfolioRecord | None]:
        """The positions of each, in the order asked for."""
        return await self._strings.get([keys.portfolio(each) for each in portfolio_ids], PortfolioRecord)

    async def marks(self, symbols: Iterable[str] | None = None) -> dict[str, Mark]:
        """The mark of each symbol that has one; every marked symbol where none is named."""
        async with reaching_redis():
            if symbols is None:
                found = await self._redis.hgetall(keys.MARKS)
                return {text(symbol): decode(raw, Mark) for symbol, raw in found.items()}
            asked = list(dict.fromkeys(symbols))
            values = await self._redis.hmget(keys.MARKS, asked) if asked else []
        return {symbol: decode(raw, Mark) for symbol, raw in zip(asked, values, strict=True) if raw is not None}

    async def scenario_set(self) -> ScenarioSetRecord | None:
        """The scenario set that new snapshots are computed under. A set is immutable, so its last one is kept."""
        async with reaching_redis():
            raw_id = await self._redis.get(keys.CURRENT_SCENARIO_SET)
            if raw_id is None:
                return None
            if self._scenario_set is None or self._scenario_set.scenario_set_id != text(raw_id):
                raw = await self._redis.get(keys.scenario_set(text(raw_id)))
                self._scenario_set = None if raw is None else decode(raw, ScenarioSetRecord)
        return self._scenario_set

    async def backtest(self, portfolio_id: str) -> BacktestRecord | None:
        """A portfolio's live backtest; None before its first judged session."""
        return (await self._strings.get([keys.backtest(portfolio_id)], BacktestRecord))[0]

    async def scenario_set_id(self) -> str | None:
        """The id of the scenario set that new snapshots are computed under."""
        async with reaching_redis():
            raw = await self._redis.get(keys.CURRENT_SCENARIO_SET)
        return None if raw is None else text(raw)

    async def heartbeats(self) -> list[Heartbeat]:
        """What every engine worker said last, those of earlier crews among them."""
        async with reaching_redis():
            found = await self._redis.hvals(keys.ENGINE)
        return [decode(raw, Heartbeat) for raw in found]

    async def advisor_pnls(self, advisor_ids: Sequence[str]) -> list[dict[str, AdvisorPnl]]:
        """For each advisor, field (`worker index/workers`) -> the scenario P&L summed over that worker's portfolios."""
        answers: list[dict[str, AdvisorPnl]] = []
        for start in range(0, len(advisor_ids), ADVISORS_AT_ONCE):
            pipeline = self._redis.pipeline(transaction=False)
            for advisor_id in advisor_ids[start : start + ADVISORS_AT_ONCE]:
                pipeline.hgetall(keys.advisor_pnl(advisor_id))
            async with reaching_redis():
                found = await pipeline.execute()
            answers += [{text(field): decode(raw, AdvisorPnl) for field, raw in each.items()} for each in found]
        return answers

    async def history(self, portfolio_id: str, from_ns: int | None, to_ns: int | None) -> list[RiskPoint]:
        """A portfolio's minutes from the oldest to the newest, those of both ends included."""
        # An entry's id is when its minute begins: what was calculated within it, and `from` may be as of, comes later.
        oldest = "-" if from_ns is None else str(max(0, from_ns // _NANOSECONDS_PER_MINUTE * _MS_PER_MINUTE))
        newest = "+" if to_ns is None else str(max(0, to_ns // _NANOSECONDS_PER_MS))
        async with reaching_redis():
            entries: Any = await self._redis.xrange(keys.history(portfolio_id), oldest, newest, count=HISTORY_MAX)
        return [decode(fields[b"point"], RiskPoint) for _, fields in entries]

    async def closed(self, portfolio_ids: Sequence[str]) -> list[bool]:
        """Whether each is known to be closed, which is more than having no snapshot."""
        if not portfolio_ids:
            return []
        async with reaching_redis():
            found = await self._redis.hmget(keys.CLOSED, list(portfolio_ids))
        return [sequence is not None for sequence in found]

    async def is_advisor(self, advisor_id: str) -> bool:
        """Whether this advisor has a portfolio."""
        async with reaching_redis():
            return await self._redis.zscore(keys.ADVISORS, advisor_id) is not None

    async def _mget(self, names: Sequence[str]) -> list[bytes | None]:
        async with reaching_redis():
            found: Any = await self._redis.mget(names)
        return cast("list[bytes | None]", found)
