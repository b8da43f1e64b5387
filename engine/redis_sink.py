"""Windows into Redis: versioned, repeatable, and patient.

Snapshots are written by one Lua call for at most 500 portfolios. For each, the script compares the sequence with that
of the stored snapshot and does nothing unless the new one is larger; then snapshot, indexes, history and announcement
follow as one step. So a replay, a duplicate or a worker that came back from the dead changes nothing.

While Redis is away, full, loading or read-only the write is tried again, with full jitter, until it succeeds or the
worker is told to stop. Nothing queues meanwhile: the flow waits, Kafka keeps the input, and the next window is wider.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import redis
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from redis.backoff import NoBackoff
from redis.retry import Retry
from typing_extensions import override

from engine.dealing import partitions_of, worker_name
from engine.drain import Drain
from engine.revalue import Publication
from engine.window import Window
from plimsoll import keys, topics
from plimsoll.errors import Unavailable
from plimsoll.logs import AtMostEvery
from plimsoll.messages import encode

log = logging.getLogger(__name__)
two_owners_log = logging.getLogger(f"{__name__}.two_owners")
two_owners_log.addFilter(AtMostEvery(seconds=10.0))

PORTFOLIOS_PER_CALL = 500
"""Redis serves nobody else during a script; 500 take about a millisecond."""
RETRY_BASE_SECONDS = 0.05
RETRY_SECONDS_MAX = 2.0
SUPERSEDED_SET_SECONDS = 3600
"""How long an old scenario set stays, for whoever still holds a snapshot made under it."""
HEAD_SIZE = 160
"""Bytes of a stored snapshot that surely hold its first three fields."""

PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
)

_COMMON = f"""
local function newer(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end
local function head_of(snapshot)
  return string.match(snapshot, '^{{"sequence":"(%d+)","advisor_id":"([^"]+)","source_partition":(%d+),')
end
local function stored(id)
  return head_of(redis.call('GETRANGE', '{keys.risk("")}' .. id, 0, {HEAD_SIZE}))
end
local function leave(id, advisor)
  redis.call('ZREM', '{keys.by_risk("")}' .. advisor, id)
  redis.call('ZREM', '{keys.by_id("")}' .. advisor, id)
  if redis.call('EXISTS', '{keys.by_id("")}' .. advisor) == 0 then redis.call('ZREM', '{keys.ADVISORS}', advisor) end
end
"""

WRITE = f"""{_COMMON}
local points_max = ARGV[1]
local said, order, elsewhere = {{}}, {{}}, {{}}
local function channel(advisor)
  if not said[advisor] then
    said[advisor] = {{snapshots = {{}}, moved = {{}}}}
    order[#order + 1] = advisor
  end
  return said[advisor]
end
for i = 2, #ARGV, 9 do
  local id, advisor, sequence, score = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local snapshot, positions, minute, point, judged = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7], ARGV[i + 8]
  local had, advisor_had, partition_had = stored(id)
  local _, _, partition = head_of(snapshot)
  if had and partition ~= partition_had then
    elsewhere[#elsewhere + 1] = id
    elsewhere[#elsewhere + 1] = tonumber(partition_had)
  end
  local floor = had or redis.call('HGET', '{keys.CLOSED}', id)
  if not floor or newer(sequence, floor) then
    redis.call('SET', '{keys.risk("")}' .. id, snapshot)
    redis.call('ZADD', '{keys.by_risk()}', score, id)
    redis.call('ZADD', '{keys.by_risk("")}' .. advisor, score, id)
    if positions ~= '' then redis.call('SET', '{keys.portfolio("")}' .. id, positions) end
    if judged ~= '' then redis.call('SET', '{keys.backtest("")}' .. id, judged) end
    if floor and not had then redis.call('HDEL', '{keys.CLOSED}', id) end
    if not had or advisor_had ~= advisor or positions ~= '' then
      redis.call('ZADD', '{keys.by_id()}', 0, id)
      redis.call('ZADD', '{keys.by_id("")}' .. advisor, 0, id)
      redis.call('ZADD', '{keys.ADVISORS}', 0, advisor)
    end
    if advisor_had and advisor_had ~= advisor then
      leave(id, advisor_had)
      local moved = channel(advisor_had).moved
      moved[#moved + 1] = '{{"portfolio_id":"' .. id .. '","advisor_id":"' .. advisor .. '"}}'
    end
    if minute ~= '0' then
      -- The entry's id is its minute, so a repeated point is refused: an error that says it is there already.
      redis.pcall('XADD', '{keys.history("")}' .. id, 'MAXLEN', '~', points_max, minute .. '-0', 'point', point)
    end
    local snapshots = channel(advisor).snapshots
    snapshots[#snapshots + 1] = snapshot
  end
end
for _, advisor in ipairs(order) do
  local batch = said[advisor]
  redis.call('PUBLISH', '{keys.risk_channel("")}' .. advisor,
    '{{"snapshots":[' .. table.concat(batch.snapshots, ',') .. '],"moved":[' .. table.concat(batch.moved, ',') .. ']}}')
end
return elsewhere
"""
"""ARGV: history points kept; for each portfolio id, advisor, sequence, score, snapshot, positions, minute, point, and
backtest.

Returns, flat, each portfolio whose stored snapshot came through another partition, and which."""

CLOSE = f"""{_COMMON}
for i = 1, #ARGV, 2 do
  local id, sequence = ARGV[i], ARGV[i + 1]
  local had, advisor = stored(id)
  if not had or newer(sequence, had) then
    redis.call('HSET', '{keys.CLOSED}', id, sequence)
    redis.call('DEL', '{keys.risk("")}' .. id, '{keys.portfolio("")}' .. id, '{keys.history("")}' .. id,
      '{keys.backtest("")}' .. id)
    redis.call('ZREM', '{keys.by_risk()}', id)
    redis.call('ZREM', '{keys.by_id()}', id)
    if advisor then
      leave(id, advisor)
      redis.call('PUBLISH', '{keys.risk_channel("")}' .. advisor, '{{"closed":["' .. id .. '"]}}')
    end
  end
end
return redis.status_reply('OK')
"""
"""ARGV: for each portfolio id, sequence of its closing."""

SERVE = f"""
local current = redis.call('GET', '{keys.CURRENT_SCENARIO_SET}')
redis.call('SET', '{keys.scenario_set("")}' .. ARGV[1], ARGV[2])
-- An id begins with its session, so a worker that lags cannot put an older session back.
if not current or string.sub(ARGV[1], 1, 10) >= string.sub(current, 1, 10) then
  redis.call('SET', '{keys.CURRENT_SCENARIO_SET}', ARGV[1])
  if current and current ~= ARGV[1] then
    redis.call('EXPIRE', '{keys.scenario_set("")}' .. current, {SUPERSEDED_SET_SECONDS})
  end
end
return redis.status_reply('OK')
"""
"""ARGV: scenario set id, the set as JSON."""

_Answer = TypeVar("_Answer")


def connect(url: str) -> redis.Redis:
    """A client that reports trouble at once: when to try again is decided here, not within the client."""
    return redis.Redis.from_url(
        url, socket_timeout=5.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0), health_check_interval=0
    )


class RedisSink(DynamicSink[tuple[str, Window]]):
    """Where windows are written. One connection for a worker."""

    def __init__(self, url: str, worker_index: int, workers: int, history_points: int, drain: Drain) -> None:
        self.url = url
        self.worker = worker_name(worker_index, workers)
        self.history_points = history_points
        self.drain = drain

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> RedisWriter:
        return RedisWriter(connect(self.url), self.worker, self.history_points, self.drain)


class RedisWriter(StatelessSinkPartition[tuple[str, Window]]):
    """Writes each window before it takes the next, so an epoch never commits ahead of Redis."""

    def __init__(self, client: redis.Redis, worker: str, history_points: int, drain: Drain) -> None:
        self._client = client
        self._worker = worker
        worker_index, _, workers = worker.partition("/")
        self._own = set(partitions_of(int(worker_index), int(workers), topics.PORTFOLIO_UPDATES.partitions))
        self._history_points = history_points
        self._drain = drain
        self._write = client.register_script(WRITE)
        self._close = client.register_script(CLOSE)
        self._serve = client.register_script(SERVE)
        self._advisors: set[str] = set()

    @override
    def write_batch(self, items: list[tuple[str, Window]]) -> None:
        for _, window in items:
            self.write(window)

    @override
    def close(self) -> None:
        self._client.close()

    def write(self, window: Window) -> None:
        """Everything in one window. Raises `Unavailable` where Redis stays away after the worker was told to stop."""
        if (served := window.scenario_set) is not None:
            self._insist(lambda: self._serve(args=[served.scenario_set_id, encode(served)]))
        if window.marks:
            marks = {symbol: encode(mark) for symbol, mark in window.marks.items()}
            self._insist(lambda: self._client.hset(keys.MARKS, mapping=marks))  # type: ignore[arg-type]
        for some in _in_steps(window.publications, PORTFOLIOS_PER_CALL):
            arguments = _arguments(some)
            elsewhere = self._insist(
                lambda arguments=arguments: self._write(args=[self._history_points, *arguments])  # type: ignore[misc]
            )
            self._warn_of_two_owners(elsewhere)
        if window.closed:
            closed = [text for one in window.closed for text in one]
            self._insist(lambda: self._close(args=closed))
        if window.heartbeat is not None:
            self._insist(lambda: self._beat(window))

    def _warn_of_two_owners(self, elsewhere: list[Any]) -> None:
        """Say which portfolios another worker holds too: one sender's choice of partition is not another's."""
        foreign = [
            (portfolio_id.decode(), partition)
            for portfolio_id, partition in zip(elsewhere[::2], elsewhere[1::2], strict=True)
            if partition not in self._own
        ]
        if foreign:
            two_owners_log.error(
                "%d portfolios come through partitions of two workers, %s through %d as well: both count it. Give all "
                "senders of portfolio-updates the same partitioner, or run one worker",
                len(foreign),
                *foreign[0],
            )

    def _beat(self, window: Window) -> None:
        """The heartbeat and the advisors' P&L; an advisor without portfolios here is taken out."""
        pipeline = self._client.pipeline(transaction=False)
        if window.heartbeat is not None:
            pipeline.hset(keys.ENGINE, self._worker, encode(window.heartbeat))
        for advisor_id, pnl in window.advisors.items():
            pipeline.hset(keys.advisor_pnl(advisor_id), self._worker, encode(pnl))
        for advisor_id in self._advisors - window.advisors.keys():
            pipeline.hdel(keys.advisor_pnl(advisor_id), self._worker)
        pipeline.execute()
        self._advisors = set(window.advisors)

    def _insist(self, write: Callable[[], _Answer]) -> _Answer:
        """Try until it succeeds, waiting longer each time (full jitter, at most two seconds)."""
        attempt = 0
        while True:
            try:
                answer = write()
            except PASSING as error:
                attempt += 1
                if self._drain.overdue:
                    raise Unavailable("Redis", f"{error}; the window is not lost, the next start repeats it") from error
                if attempt == 1 or attempt % 20 == 0:
                    log.warning("redis is away, attempt %d: %s", attempt, error)
                self._drain.wait(random.uniform(0, min(RETRY_SECONDS_MAX, RETRY_BASE_SECONDS * 2 ** min(attempt, 8))))  # noqa: S311
            else:
                if attempt:
                    log.info("redis is back after %d attempts", attempt)
                return answer


def _arguments(some: Sequence[Publication]) -> list[str | bytes | float | int]:
    flat: list[str | bytes | float | int] = []
    for one in some:
        flat += (
            one.portfolio_id, one.advisor_id, one.sequence, one.risk_score, one.snapshot, one.positions,
            one.minute_ms, one.point, one.backtest,
        )  # fmt: skip
    return flat


def _in_steps(items: Sequence[Publication], size: int) -> Iterator[Sequence[Publication]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
