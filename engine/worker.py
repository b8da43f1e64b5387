"""One worker: waits for Kafka and Redis, guards what it remembers, draws the flow and runs it until told to stop.

The order of a start is the order in which things can be told apart. Which log is this? Is the recovery directory ours
alone, and does it continue this log? Do the results in Redis come from it, and could they be complete if we read it
anew? Only then is the fence taken, from whoever may still be writing, and the flow begins.

Waiting ends at once when the worker is told to stop, and its health is served from the first moment on.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import redis
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from typing_extensions import override

from engine.dealing import partitions_of, worker_name
from engine.drain import Drain
from engine.fence import take
from engine.flow import BuildBook, build_flow
from engine.health import HealthServer
from engine.kafka_sink import KafkaSink
from engine.manifest import DirectoryUnusable, Keeper, Place, StateUnusable, damage
from engine.pulse import Pulse
from engine.redis_sink import RedisSink, connect, reach
from engine.same_log import Log, claim_redis
from engine.sources import KafkaRecords, Poll
from engine.topics import Client, ensure_topics, topic_ids, trimmed
from engine.vitals import Vitals
from engine.watch import SameTopics, Watch
from engine.window import RecoveryState, Revaluation, Window
from plimsoll import keys, topics, transport
from plimsoll.errors import PlimsollError, Unavailable
from plimsoll.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LOCK_SECONDS = 10.0
"""How long to wait for the recovery directory: a worker whose supervisor was killed has as long to end."""
DIRECTORY_CHECK_SECONDS = 2.0
TOPIC_CHECK_SECONDS = 10.0
RECOVERY_PARTITIONS = 1
"""One worker writes it, so there is nothing to spread."""

_Answer = TypeVar("_Answer")


class RecoveryDirectoryBusy(PlimsollError):
    """Another engine uses the recovery directory. Stop it first, or give this one another directory."""

    lasting = True


class _ToldToStop(Exception):
    """The worker was told to stop before its flow began: nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a worker was started: it is `worker_index` of `workers`. `recovery` None: every start is from the log.

    `rebuild`: what was saved is set aside, and what the log no longer holds is done without. `health_port`: where it
    serves its health; 0: nowhere.
    """

    worker_index: int
    workers: int
    recovery: Path | None
    epoch_interval: timedelta
    rebuild: bool = False
    health_port: int = 0

    @property
    def name(self) -> str:
        """What the worker is filed under."""
        return worker_name(self.worker_index, self.workers)

    @property
    def partitions(self) -> list[int]:
        """Its partitions of `portfolio-updates`."""
        return partitions_of(self.worker_index, self.workers, topics.PORTFOLIO_UPDATES.partitions)


def run_worker(settings: Settings, start: Start, pulse: Pulse | None = None) -> None:
    """Run one worker until SIGTERM or SIGINT. Raises `PlimsollError` where it cannot go on."""
    worker = _Worker(settings, start, pulse)
    worker.drain.listen()
    worker.watch.limit_the_drain()
    if start.health_port:
        HealthServer(worker.vitals, settings.health_host, start.health_port, settings.ready_lag).start()
    try:
        worker.run()
    except _ToldToStop:
        log.info("worker %s was stopped before it began", start.name)
    except BaseException as error:  # Bytewax's panics are no `Exception`
        if (told := worker.watch.found or explained(error)) is None:
            raise
        raise told from error
    if worker.watch.found is not None:
        raise worker.watch.found


def explained(error: BaseException) -> PlimsollError | None:
    """The error we expect among those that Bytewax wrapped around it; None where there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PlimsollError):
            return cause
        if (told := damage(cause)) is not None:
            return told
        cause = cause.__cause__ or cause.__context__
    return None


class _Worker:
    """One run of a worker, from its first question to its last epoch."""

    def __init__(self, settings: Settings, start: Start, pulse: Pulse | None) -> None:
        self.settings = settings
        self.start = start
        self.drain = Drain()
        self.vitals = Vitals(start.name, pulse)
        self.watch = Watch(self.drain)
        self.kafka = transport.Kafka.of(settings)
        self.store = transport.Redis.of(settings)

    def run(self) -> None:
        """Everything. Raises `_ToldToStop` where it was told to before its flow began."""
        here = self._patiently(lambda: ensure_topics(self.kafka, self.settings.replication_factor), "Kafka")
        with self._recovery(here) as (recovery_config, keeper):
            token = self._claim(here, keeper)
            self.watch.every(TOPIC_CHECK_SECONDS, SameTopics(here.topics, self._asking_for_topics()).check)
            flow = self._flow(keeper, token)
            # What is here by now stays: the collector need not look through it again and again.
            gc.freeze()
            log.info("worker %s reads from %s, with fence token %d", self.start.name, self.kafka, token)
            cli_main(  # type: ignore[no-untyped-call]
                flow, epoch_interval=self.start.epoch_interval, recovery_config=recovery_config
            )
        log.info("worker %s drained", self.start.name)

    def _flow(self, keeper: Keeper | None, token: int) -> Dataflow:
        settings, start, drain = self.settings, self.start, self.drain
        vitals, emptied = self.vitals, threading.Event()
        book: BuildBook = partial(
            Revaluation,
            settings,
            start.worker_index,
            start.workers,
            vitals=vitals,
            emptied=emptied,
            saves=keeper is not None,
        )
        return build_flow(
            start.name,
            KafkaRecords(self.kafka, start.worker_index, start.workers, drain, vitals=vitals),
            book if keeper is None else partial(_Guarded, book, keeper),
            RedisSink(
                self.store,
                start.worker_index,
                start.workers,
                settings.history_points,
                drain,
                token=token,
                vitals=vitals,
                emptied=emptied,
                saves=keeper is not None,
            ),
            KafkaSink(self.kafka, start.name, drain, vitals=vitals, saves=keeper is not None),
        )

    def _asking_for_topics(self) -> Callable[[], dict[str, str] | None]:
        """Asks Kafka for the ids of its topics, and by the way whether it is there."""
        client = Client(self.kafka)

        def ask() -> dict[str, str] | None:
            try:
                ids = topic_ids(client)
            except Unavailable as error:
                self.vitals.waits_for("Kafka", str(error))
                raise
            self.vitals.has("Kafka")
            return ids

        return ask

    # --- Redis -------------------------------------------------------------------------------------------------------

    def _claim(self, here: Log, keeper: Keeper | None) -> int:
        """Make sure that Redis holds this log's results or none, and take the fence; the token to write with."""
        with connect(self.store) as client:
            held = self._patiently(lambda: reach(self.store, lambda: _results(client, here)), "Redis")
            if held:
                self._refuse_a_gap(held, keeper)
            ask = partial(take, client, self.start.partitions, time.time_ns())
            return self._patiently(lambda: reach(self.store, ask), "Redis")

    def _refuse_a_gap(self, held: int, keeper: Keeper | None) -> None:
        """Refuse to build anew from a log that has lost its beginning, while Redis knows more."""
        rebuilt = self.start.rebuild or (keeper is not None and keeper.rebuilt)
        if rebuilt or (keeper is not None and not keeper.empty):
            return
        client = Client(self.kafka)
        gone = self._patiently(lambda: trimmed(client, self.start.partitions), "Kafka")
        if gone:
            partition, first = min(gone.items())
            raise StateUnusable(
                f"there is no recovery state, and Kafka no longer holds the beginning of {len(gone)} partitions of "
                f"portfolio-updates ([{partition}] begins at offset {first}): some of the {held} portfolios in Redis "
                "may not be in it any more. Put the recovery directory back from a copy, or add --rebuild once to do "
                "with what the log still holds"
            )

    # --- the recovery directory --------------------------------------------------------------------------------------

    @contextmanager
    def _recovery(self, here: Log) -> Iterator[tuple[RecoveryConfig | None, Keeper | None]]:
        """The worker's own recovery store, created when missing, held against a second engine while we run.

        It is filed under the number of workers too: with another number the partitions are dealt anew, and each
        worker rebuilds from the log instead of resuming another one's offsets.
        """
        if self.start.recovery is None:
            yield None, None
            return
        directory = self.start.recovery / f"worker-{self.start.worker_index}-of-{self.start.workers}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = (directory / "lock").open("w")
        except OSError as error:
            raise DirectoryUnusable(
                f"{directory} cannot be made or written to ({error.strerror}): give this user the right to, or choose "
                "another --recovery-directory"
            ) from None
        with lock:
            self._lock(lock, directory)
            keeper = Keeper(directory, self.start.name, datetime.now(UTC) if self.start.rebuild else None)
            keeper.check(here)
            if not keeper.parts():
                init_db_dir(directory, RECOVERY_PARTITIONS)  # type: ignore[no-untyped-call]
            self.watch.every(DIRECTORY_CHECK_SECONDS, Place(directory).check)
            yield RecoveryConfig(directory, backup_interval=timedelta(0)), keeper  # type: ignore[no-untyped-call]

    def _lock(self, lock: IO[str], directory: Path) -> None:
        """Hold the directory. Whoever holds it now may be about to end."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            self._go_on("recovery directory")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.vitals.waits_for("recovery directory", "another engine uses it")
                if time.monotonic() > deadline:
                    raise RecoveryDirectoryBusy(
                        f"{directory} is in use by another engine: stop it, or choose another --recovery-directory"
                    ) from None
                self.drain.wait(0.1)
            else:
                self.vitals.has("recovery directory")
                return

    # --- patience ----------------------------------------------------------------------------------------------------

    def _go_on(self, what: str) -> None:
        """Give a sign of life. Raises `_ToldToStop`."""
        self.vitals.starting()
        if self.drain.asked:
            raise _ToldToStop(what)

    def _patiently(self, attempt: Callable[[], _Answer], dependency: str) -> _Answer:
        """Try until it succeeds. Raises `_ToldToStop`, and what would only be said again: that we are refused."""
        failures = 0
        while True:
            self._go_on(dependency)
            try:
                answer = attempt()
            except Unavailable as error:
                if error.lasting:
                    raise
                failures += 1
                self.vitals.waits_for(dependency, str(error))
                self.vitals.retried(dependency)
                if failures == 1 or failures % 20 == 0:
                    log.warning("waiting for %s, attempt %d: %s", dependency, failures, error)
                self.drain.wait(RETRY_SECONDS)
            else:
                self.vitals.has(dependency)
                return answer


def _results(client: redis.Redis, here: Log) -> int:
    """How many portfolios Redis holds of this log. Raises `AnotherLog` where they are another's."""
    return int(client.zcard(keys.by_risk())) if claim_redis(client, here) else 0


class _Guarded(StatefulBatchLogic[Poll, Window, RecoveryState]):
    """The book, built only where its state is not missing; it tells the keeper when a state is saved."""

    def __init__(self, build: BuildBook, keeper: Keeper, resume_state: RecoveryState | None) -> None:
        self._book = build(keeper.require_state(resume_state))
        self._keeper = keeper

    @override
    def on_batch(self, values: list[Poll]) -> tuple[Iterable[Window], bool]:
        return self._book.on_batch(values)

    @override
    def on_notify(self) -> tuple[Iterable[Window], bool]:
        return self._book.on_notify()

    @override
    def on_eof(self) -> tuple[Iterable[Window], bool]:
        return self._book.on_eof()

    @override
    def notify_at(self) -> datetime | None:
        return self._book.notify_at()

    @override
    def snapshot(self) -> RecoveryState:
        state = self._book.snapshot()
        self._keeper.saving()
        return state
