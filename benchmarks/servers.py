"""The servers and the engine that a benchmark runs against, each a process of its own, gone afterwards.

Kafka is a real Apache Kafka where Java and Maven are, its data on disk, else the embedded broker in a process of its
own; the report says which. Redis is a `redis-server` of our own. The engine is the command that users start,
`risk-calculator`, told by its environment where the two are; nothing here reaches into it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.measuring import children_of, wait_for
from embedded.broker import EmbeddedBroker
from embedded.child import Child
from embedded.store import EmbeddedStore, connect, free_port
from engine.topics import ensure_topics
from plimsoll import keys, messages, processes, topics
from plimsoll.errors import Unavailable
from plimsoll.messages import Heartbeat
from plimsoll.topics import Topic
from plimsoll.transport import Kafka, Redis

ROOT = Path(__file__).parents[1]
RUN_KAFKA = ROOT / "tests" / "integration" / "kafka" / "run.py"
CANNOT_RUN = 77
"""What it exits with where the machine lacks something."""
KAFKA_SECONDS = 180.0
"""The first time, most of it is Maven's."""
EMBEDDED_RECORD_BYTES_MAX = 40 * 1024 * 1024
"""Of a topic with 12 partitions on the embedded broker, which keeps about 5 MB of each; some are fuller than others."""
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Servers:
    """A broker and a store that run, both empty."""

    brokers: str
    broker_name: str
    is_real: bool
    """Apache Kafka, and not the embedded broker."""
    broker: Child
    store: EmbeddedStore
    directory: Path

    def client(self) -> redis.Redis:
        """A client of the store."""
        return connect(Redis(self.store.url), seconds=30.0)

    def empty_store(self) -> None:
        """As after `FLUSHALL`."""
        with self.client() as client:
            client.flushall()

    def record_count(self, topic: Topic) -> int:
        """How many offsets the topic spans."""
        asking = Consumer({"bootstrap.servers": self.brokers, "group.id": "plimsoll-bench", "log_level": 2})
        try:
            return sum(
                asking.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=20.0)[1]
                for partition in range(topic.partitions)
            )
        finally:
            asking.close()

    def has_topics(self) -> bool:
        """Whether every partition has a leader: a new one is listed a moment before it does."""
        try:
            return all(self.record_count(topic) >= 0 for topic in topics.ALL)
        except KafkaException:
            return False

    def records_at_most(self, wanted: int, record_bytes: int) -> int:
        """`wanted`, or what the embedded broker can keep of it."""
        return wanted if self.is_real else min(wanted, EMBEDDED_RECORD_BYTES_MAX // record_bytes)


@contextlib.contextmanager
def running(broker: str, directory: Path | None = None) -> Iterator[Servers]:
    """Servers for one benchmark. `broker` is `kafka`, `embedded`, or `auto`: Kafka where this machine can run it.

    Their files lie below `directory`, which should be on a real disk, and are removed. Raises `Unavailable`.
    """
    home = Path(tempfile.mkdtemp(prefix="plimsoll-bench-", dir=directory or _on_disk()))
    started: list[Child] = []
    try:
        process, address = _start_broker(broker, home, started)
        is_real = process.name == "kafka"
        name = _kafka_name() if is_real else "embedded broker (librdkafka's mock, in memory)"
        if is_real:
            ensure_topics(Kafka(address), replication_factor=1)
        with EmbeddedStore.start(home) as store:
            servers = Servers(address, name, is_real, process, store, home)
            wait_for(servers.has_topics, "topics with leaders", 30.0)
            yield servers
    finally:
        for child in started:
            child.stop(STOP_SECONDS)
        shutil.rmtree(home, ignore_errors=True)


def _on_disk() -> Path | None:
    """`/var/tmp`, which survives a reboot and so lies on a disk, where `/tmp` may be memory."""
    kept = Path("/var/tmp")
    return kept if kept.is_dir() and os.access(kept, os.W_OK) else None


def _start_broker(kind: str, home: Path, started: list[Child]) -> tuple[Child, str]:
    if kind in ("auto", "kafka"):
        port, controller_port = free_port(), free_port()
        command: list[str | Path] = [sys.executable, RUN_KAFKA, home / "kafka", str(port), str(controller_port)]
        kafka = Child.start("kafka", command, environ=os.environ, log=home / "kafka.log")
        started.append(kafka)
        address = f"127.0.0.1:{port}"
        if _answers(kafka, address):
            return kafka, address
        if kind == "kafka" or kafka.exit_code() != CANNOT_RUN:
            raise Unavailable("Apache Kafka", f"it ended with exit code {kafka.exit_code()}:\n{kafka.tail()}")
    log = home / "broker.log"
    embedded = python("benchmarks.servers", environ={}, log=log)
    started.append(embedded)
    deadline = time.monotonic() + 30.0
    while not (said := log.read_text(encoding="utf-8").split()) and time.monotonic() < deadline:
        time.sleep(0.02)
    if not said or embedded.exit_code() is not None:
        raise Unavailable("the embedded broker", f"it did not start:\n{embedded.tail()}")
    return embedded, said[0]


def _answers(kafka: Child, address: str) -> bool:
    """Wait until the broker answers; False when it has ended."""
    admin = _admin(address)
    deadline = time.monotonic() + KAFKA_SECONDS
    while kafka.exit_code() is None and time.monotonic() < deadline:
        with contextlib.suppress(KafkaException):
            if admin.list_topics(timeout=0.5).brokers:
                return True
    return False


def _admin(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address, "log_level": 2, "reconnect.backoff.max.ms": 200})


def _kafka_name() -> str:
    text = (RUN_KAFKA.parent / "pom.xml").read_text(encoding="utf-8")
    version = text.partition("<kafka.version>")[2].partition("<")[0]
    return f"Apache Kafka {version} (one node, data on disk)"


def python(module: str, *arguments: str, environ: Mapping[str, str], log: Path) -> Child:
    """Start one of our modules, from the checkout, in a process of its own."""
    return Child.start(
        module,
        [sys.executable, "-m", module, *arguments],
        environ={**environment(), **environ},
        log=log,
        directory=ROOT,
    )


def environment() -> dict[str, str]:
    """Ours without anybody's settings, and with one thread for each numpy: what is measured is a core."""
    ours = ("KAFKA_BROKERS", "REDIS_URL", "LOG_LEVEL")
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("PLIMSOLL_")}
    return kept | {"PYTHONUNBUFFERED": "1"}


# --- the engine -------------------------------------------------------------------------------------------------------


class Engine:
    """`risk-calculator`, started as users do. `with Engine(servers) as engine`: stopped when the block ends."""

    def __init__(
        self,
        servers: Servers,
        *,
        workers: int = 1,
        window_ms: int = 50,
        recovery: Path | None = None,
        epoch_seconds: float = 1.0,
    ) -> None:
        self.servers = servers
        self.workers = workers
        self.log = Path(tempfile.mkstemp(prefix="engine-", suffix=".log", dir=servers.directory)[1])
        self._arguments = ["--workers", str(workers), "--epoch-interval", str(epoch_seconds)]
        if recovery is not None:
            self._arguments += ["--recovery-directory", str(recovery)]
        self._environ = environment() | {
            "KAFKA_BROKERS": servers.brokers,
            "REDIS_URL": servers.store.url,
            "PLIMSOLL_WINDOW_MS": str(window_ms),
        }
        self._redis = servers.client()
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        # -P: a folder named `engine` where it works is not this one.
        self.child = Child.start(
            "engine",
            [sys.executable, "-P", "-m", "engine", *self._arguments],
            environ=self._environ,
            log=self.log,
            directory=self.servers.directory,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.child.stop(STOP_SECONDS)
        self._redis.close()

    def pids(self) -> list[int]:
        """The workers; not their supervisor, which only waits for them."""
        if len(self._pids) < self.workers:
            self._pids = children_of(self.child.pid)
        return self._pids

    def forget_pids(self) -> None:
        """After one was killed."""
        self._pids = []

    def is_alive(self) -> bool:
        """Whether it runs, and no worker has died."""
        return self.child.exit_code() is None and not self.said("died with exit code")

    def snapshot_count(self) -> int:
        """How many portfolios have a snapshot in Redis."""
        return int(self._redis.zcard(keys.by_id()))

    def heartbeats(self) -> list[Heartbeat]:
        """What each worker said last."""
        beats = self._redis.hvals(keys.ENGINE)
        return [messages.decode(beat, Heartbeat) for beat in beats]

    def records_read(self) -> int:
        """Records that ended as applied, stale or dead letter, as the workers' last heartbeats count them."""
        return sum(beat.applied + beat.stale + beat.dead_lettered for beat in self.heartbeats())

    def began_reading(self) -> float:
        """The monotonic moment at which the first worker said that it reads: started, and connected to nothing yet."""
        times = [json.loads(line)["time"] for line in self.said("reads from")]
        wall = min(datetime.fromisoformat(time_) for time_ in times).timestamp()
        return time.monotonic() - (time.time() - wall)

    def said(self, text: str) -> list[str]:
        """The lines of its log that hold a text."""
        return [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if text in line]


def serve_embedded_broker() -> None:
    """Be the embedded broker until told to stop; its address is the first word on standard output."""
    processes.end_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    with EmbeddedBroker.start() as broker:
        print(broker.address, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    serve_embedded_broker()
