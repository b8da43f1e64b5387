"""Windows into Redis: versioned, repeatable, and patient.

Snapshots are written by one call of a script for at most 500 portfolios (`engine.redis_scripts`). For each, it compares
the sequence with that of the stored snapshot and does nothing unless the new one is larger; then snapshot, indexes,
history and announcement follow as one step. So a replay or a duplicate changes nothing, and a worker that came back
from the dead is kept out by the fence.

While Redis is away, full, loading or read-only the write is tried again, with full jitter, until it succeeds or the
worker is told to stop. Few windows queue meanwhile: the flow waits, and Kafka keeps the input.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import redis
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from redis.backoff import NoBackoff
from redis.retry import Retry
from typing_extensions import override

from engine.dealing import partitions_of, worker_name
from engine.drain import Drain
from engine.fence import Fenced
from engine.redis_scripts import CLOSE, PUT, SERVE, WRITE
from engine.revalue import Publication
from engine.vitals import Vitals
from engine.window import Window
from plimsoll import keys, topics
from plimsoll.errors import Unavailable
from plimsoll.logs import AtMostEvery
from plimsoll.messages import encode, newest_day
from plimsoll.transport import Redis

log = logging.getLogger(__name__)
two_owners_log = logging.getLogger(f"{__name__}.two_owners")
two_owners_log.addFilter(AtMostEvery(seconds=10.0))

PORTFOLIOS_PER_CALL = 500
"""Redis serves nobody else during a script; 500 take about a millisecond."""
ENTRIES_PER_CALL = 25
"""Sums of advisors have some 20 KB each."""
RETRY_BASE_SECONDS = 0.05
RETRY_SECONDS_MAX = 2.0
WINDOWS_WAITING_MAX = 3
"""Windows of at most 1,000 snapshots each that wait for Redis; when there are as many, the flow waits. More would not
be quicker, and an epoch waits for all of them."""
SWITCH_SECONDS = 0.001
"""How long the flow may keep the interpreter from the writer: five times less than Python's default, since a window of
a thousand snapshots takes several calls, and each waits for its turn after its answer."""

PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
)

_Answer = TypeVar("_Answer")


def connect(store: Redis) -> redis.Redis:
    """A client that reports trouble at once: when to try again is decided here, not within the client."""
    return redis.Redis.from_url(
        **store.redis_py(),
        socket_timeout=5.0,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )


def reach(store: Redis, ask: Callable[[], _Answer]) -> _Answer:
    """What Redis answers. Raises `Unavailable` where it is away, and so that it lasts where it does not let us in."""
    try:
        return ask()
    except PASSING as error:
        raise store.refusal(error) or Unavailable("Redis", store.said(error)) from error
    except redis.ResponseError as error:
        if refused := store.refusal(error):
            raise refused from error
        raise


class RedisSink(FixedPartitionedSink[Window, None]):
    """Where windows are written. One connection for a worker.

    token    what `engine.fence.take` gave this worker: whoever holds a larger one has superseded it
    emptied  set where Redis turns out to have lost what was in it
    saves    whether epochs are saved, and so have to wait for Redis; without, every start is from the log
    """

    def __init__(
        self,
        store: Redis,
        worker_index: int,
        workers: int,
        history_points: int,
        drain: Drain,
        *,
        token: int = 0,
        vitals: Vitals | None = None,
        emptied: threading.Event | None = None,
        saves: bool = True,
    ) -> None:
        self.store = store
        self.worker = worker_name(worker_index, workers)
        self.partitions = partitions_of(worker_index, workers, topics.PORTFOLIO_UPDATES.partitions)
        self.history_points = history_points
        self.drain = drain
        self.token = token
        self.vitals = vitals or Vitals(self.worker)
        self.emptied = emptied
        self.saves = saves

    @override
    def list_parts(self) -> list[str]:
        return [self.worker]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Background:
        writer = RedisWriter(
            self.store,
            self.worker,
            self.partitions,
            self.history_points,
            self.drain,
            token=self.token,
            vitals=self.vitals,
            emptied=self.emptied,
        )
        return Background(writer, self.vitals, saves=self.saves)

    @override
    def part_fn(self, item_key: str) -> int:
        return 0


class Background(StatefulSinkPartition[Window, None]):
    """Writes windows in a thread of its own, so that the flow computes the next while Redis takes this one.

    Bounded: with `WINDOWS_WAITING_MAX` of them unwritten the flow waits. `snapshot` is Bytewax's last call before an
    epoch commits, and there all of them are waited for. What goes wrong in the thread is raised in the flow.
    """

    def __init__(self, writer: RedisWriter, vitals: Vitals, *, saves: bool = True) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        self._writer = writer
        self._vitals = vitals
        self._saves = saves
        self._waiting: list[Window] = []
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="redis-writer", daemon=True)
        self._thread.start()

    @override
    def write_batch(self, values: list[Window]) -> None:
        for window in values:
            self._wait_until(lambda: len(self._waiting) < WINDOWS_WAITING_MAX)
            with self._changed:
                self._waiting.append(window)
                self._changed.notify_all()

    @override
    def snapshot(self) -> None:
        began = time.perf_counter()
        self._wait_until(lambda: not (self._saves and self._waiting))
        self._vitals.epoch_took(time.perf_counter() - began)

    @override
    def close(self) -> None:
        # Never raises: Bytewax calls it while it unwinds from what went wrong, and a second failure would abort the
        # process. Whatever matters was raised by `snapshot`, which comes before.
        try:
            self._wait_until(lambda: not self._waiting)
        except Exception as error:  # whatever it is, it is said, and the connection has to be closed
            log.warning("%d windows are not in redis, and the next start repeats them: %s", len(self._waiting), error)
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        self._thread.join()
        self._writer.close()

    def _wait_until(self, done: Callable[[], bool]) -> None:
        """Wait for the thread, the pulse beating meanwhile. Raises what ended it."""
        with self._changed:
            while not done():
                if self._failure is not None:
                    raise self._failure
                self._changed.wait(0.1)
                self._vitals.turned()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ends:
                    self._changed.wait()
                if not self._waiting:
                    return
                window = self._waiting[0]
            try:
                self._writer.write(window)
            except BaseException as failure:  # handed to the flow, which ends of it
                with self._changed:
                    self._failure = failure
                    self._changed.notify_all()
                return
            with self._changed:
                # Only now, so that whoever waits for an empty list waits for what Redis has.
                self._waiting.pop(0)
                self._changed.notify_all()


class RedisWriter:
    """Writes a window before it returns, however long Redis is away."""

    def __init__(
        self,
        store: Redis,
        worker: str,
        partitions: Sequence[int],
        history_points: int,
        drain: Drain,
        *,
        token: int = 0,
        vitals: Vitals | None = None,
        emptied: threading.Event | None = None,
    ) -> None:
        self._store = store
        self._client = client = connect(store)
        self._worker = worker
        self._own = set(partitions)
        self._fence = [str(token), ",".join(map(str, partitions))]
        self._history_points = history_points
        self._drain = drain
        self._vitals = vitals or Vitals(worker)
        self._emptied = emptied or threading.Event()
        self._has_beaten = False
        self._write = client.register_script(WRITE)
        self._close = client.register_script(CLOSE)
        self._serve = client.register_script(SERVE)
        self._put = client.register_script(PUT)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def write(self, window: Window) -> None:
        """Everything in one window. Raises `Unavailable` where Redis stays away after the worker was told to stop."""
        if (served := window.scenario_set) is not None:
            today = newest_day(time.time_ns())
            self._insist(lambda: self._serve(args=[*self._fence, served.scenario_set_id, encode(served), today]))
        if window.marks:
            self._enter((keys.MARKS, symbol, encode(mark)) for symbol, mark in window.marks.items())
        for first in range(0, len(window.publications), PORTFOLIOS_PER_CALL):
            arguments = _arguments(window.publications[first : first + PORTFOLIOS_PER_CALL])
            elsewhere = self._insist(
                lambda arguments=arguments: self._write(args=[*self._fence, self._history_points, *arguments])  # type: ignore[misc]
            )
            self._warn_of_two_owners(elsewhere)
        if window.closed:
            closed = [text for one in window.closed for text in one]
            self._insist(lambda: self._close(args=[*self._fence, *closed]))
        if window.heartbeat is not None:
            new = self._enter([(keys.ENGINE, self._worker, encode(window.heartbeat))])
            if new and self._has_beaten:
                log.warning("redis was emptied: everything is offered again")
                self._emptied.set()
            self._has_beaten = True
        self._enter((keys.advisor_pnl(each), self._worker, encode(pnl)) for each, pnl in window.advisors.items())
        self._enter((keys.advisor_pnl(each), self._worker, b"") for each in window.advisors_gone)
        if window.publications:
            age = time.time() - window.oldest_tick_ms / 1e3 if window.oldest_tick_ms else None
            self._vitals.wrote(len(window.publications), age)

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

    def _enter(self, entries: Iterable[tuple[str, str, bytes]]) -> int:
        """Key, field and value of entries in hashes; an empty value takes one out. How many were not there before."""
        flat = [part for entry in entries for part in entry]
        new = 0
        for first in range(0, len(flat), 3 * ENTRIES_PER_CALL):
            some = flat[first : first + 3 * ENTRIES_PER_CALL]
            new += self._insist(lambda some=some: self._put(args=[*self._fence, *some]))  # type: ignore[misc]
        return new

    def _insist(self, write: Callable[[], _Answer]) -> _Answer:
        """Try until it succeeds, waiting longer each time (full jitter, at most two seconds)."""
        attempt = 0
        while True:
            try:
                answer = reach(self._store, write)
            except Unavailable as error:
                if error.lasting:
                    raise
                attempt += 1
                if self._drain.overdue:
                    raise Unavailable(
                        "Redis", f"{error.detail}; the window is not lost, the next start repeats it"
                    ) from error
                self._vitals.waits_for("Redis", error.detail)
                self._vitals.retried("Redis")
                if attempt == 1 or attempt % 20 == 0:
                    log.warning("redis is away, attempt %d: %s", attempt, error.detail)
                self._drain.wait(random.uniform(0, min(RETRY_SECONDS_MAX, RETRY_BASE_SECONDS * 2 ** min(attempt, 8))))  # noqa: S311
            except redis.ResponseError as error:
                if str(error).startswith("FENCED"):
                    raise Fenced(int(str(error).split()[1])) from None
                raise
            else:
                self._vitals.has("Redis")
                if attempt:
                    log.info("redis is back after %d attempts", attempt)
                return answer


def _arguments(some: Sequence[Publication]) -> list[str | bytes | float | int]:
    return [part for one in some for part in (one.snapshot, one.risk_score, one.positions, one.backtest, one.minute_ms)]
