"""One worker: waits for Kafka, guards its recovery directory, draws the flow and runs it until told to stop."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from engine.dealing import worker_name
from engine.drain import Drain
from engine.flow import build_flow
from engine.kafka_sink import KafkaSink
from engine.redis_sink import PASSING, RedisSink, connect
from engine.same_log import claim_directory, claim_redis
from engine.sources import KafkaRecords
from engine.topics import ensure_topics
from engine.window import Revaluation
from plimsoll.errors import PlimsollError, Unavailable
from plimsoll.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
RECOVERY_PARTITIONS = 1
"""One worker writes it, so there is nothing to spread."""


_Answer = TypeVar("_Answer")


class RecoveryDirectoryBusy(PlimsollError):
    """Another engine uses the recovery directory. Stop it first, or give this one another directory."""


def run_worker(
    settings: Settings, worker_index: int, workers: int, recovery: Path | None, epoch_interval: timedelta
) -> None:
    """Run worker `worker_index` of `workers` until SIGTERM or SIGINT. Raises `PlimsollError` where it cannot go on."""
    drain = Drain()
    drain.listen()
    name = worker_name(worker_index, workers)
    cluster_id = _patiently(
        lambda: ensure_topics(settings.kafka_brokers, settings.replication_factor), (Unavailable,), "Kafka", drain
    )
    if cluster_id is None:
        return
    with connect(settings.redis_url) as client:
        if _patiently(lambda: claim_redis(client, cluster_id), PASSING, "Redis", drain) is None:
            return
    flow = build_flow(
        name,
        KafkaRecords(settings.kafka_brokers, worker_index, workers, drain),
        partial(Revaluation, settings, worker_index, workers),
        RedisSink(settings.redis_url, worker_index, workers, settings.history_points, drain),
        KafkaSink(settings.kafka_brokers, name, drain),
    )
    with _recovery_config(recovery, worker_index, workers, cluster_id) as recovery_config:
        log.info("worker %s reads from %s", name, settings.kafka_brokers)
        cli_main(  # type: ignore[no-untyped-call]
            flow, epoch_interval=epoch_interval, recovery_config=recovery_config
        )
    log.info("worker %s drained", name)


def _patiently(
    attempt: Callable[[], _Answer], passing: tuple[type[Exception], ...], dependency: str, drain: Drain
) -> _Answer | None:
    """Try until it succeeds. None if the worker was told to stop meanwhile."""
    failures = 0
    while not drain.asked:
        try:
            return attempt()
        except passing as error:
            failures += 1
            if failures == 1 or failures % 20 == 0:
                log.warning("waiting for %s, attempt %d: %s", dependency, failures, error)
            drain.wait(RETRY_SECONDS)
    return None


@contextmanager
def _recovery_config(
    root: Path | None, worker_index: int, workers: int, cluster_id: str
) -> Iterator[RecoveryConfig | None]:
    """The worker's own recovery store, created when missing, held against a second engine while we run.

    It is filed under the number of workers too: with another number the partitions are dealt anew, and each worker
    rebuilds from the log instead of resuming another one's offsets.
    """
    if root is None:
        yield None
        return
    directory = root / f"worker-{worker_index}-of-{workers}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecoveryDirectoryBusy(
                f"{directory} is in use by another engine: stop it, or choose another --recovery-directory"
            ) from None
        claim_directory(directory, cluster_id)
        if not list(directory.glob("part-*.sqlite3")):
            init_db_dir(directory, RECOVERY_PARTITIONS)  # type: ignore[no-untyped-call]
        yield RecoveryConfig(directory, backup_interval=timedelta(0))  # type: ignore[no-untyped-call]
