"""A Kafka broker inside this process: librdkafka's mock cluster, from the library in the confluent-kafka wheel.

It speaks the real protocol over TCP on loopback, so every client works unchanged. It is for the demo and for tests and
nothing else: records live in memory, about 5 MB of the newest a partition (older ones are dropped, whatever the
topic's cleanup says), nothing is on disk and nothing survives `stop`. It knows no security, no compaction and no
replication, and it answers no DescribeConfigs.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import confluent_kafka

from plimsoll.errors import Unavailable
from plimsoll.topics import ALL, Topic

KEPT_BYTES_PER_PARTITION = 5 * 1024 * 1024
"""What librdkafka's mock keeps of a partition before it drops the oldest records."""

_WHO = "the embedded broker"
_BROKER_ID = 1
_PRODUCER = 0
_LOG_CRITICAL = b"2"
_KNOCK_SECONDS = 0.005
_POINTER = ctypes.c_void_p

# name -> (result, arguments), as rdkafka.h and rdkafka_mock.h declare them
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "rd_kafka_conf_new": (_POINTER, []),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        [_POINTER, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_new": (_POINTER, [ctypes.c_int, _POINTER, ctypes.c_char_p, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [_POINTER]),
    "rd_kafka_err2str": (ctypes.c_char_p, [ctypes.c_int]),
    "rd_kafka_mock_cluster_new": (_POINTER, [_POINTER, ctypes.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [_POINTER]),
    "rd_kafka_mock_topic_create": (ctypes.c_int, [_POINTER, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
    "rd_kafka_mock_broker_set_down": (ctypes.c_int, [_POINTER, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (ctypes.c_int, [_POINTER, ctypes.c_int32]),
    "rd_kafka_mock_partition_delete_records": (
        ctypes.c_int,
        [_POINTER, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int64],
    ),
}


class EmbeddedBroker:
    """A running broker. Use `start`, then `stop` once; or `with EmbeddedBroker.start() as broker`."""

    def __init__(self, library: ctypes.CDLL, client: int, cluster: int) -> None:
        self._library = library
        self._client = client
        self._cluster: int | None = cluster
        self.address: str = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()
        """host:port on loopback, as `KAFKA_BROKERS` wants it."""

    @classmethod
    def start(cls, topics: Iterable[Topic] = ALL) -> EmbeddedBroker:
        """A fresh, empty broker on a free port, with exactly these topics. Raises `Unavailable`."""
        library = _load()
        reason = ctypes.create_string_buffer(512)
        settings = library.rd_kafka_conf_new()
        # A client that goes away is not worth a line on our standard error.
        library.rd_kafka_conf_set(settings, b"log_level", _LOG_CRITICAL, reason, len(reason))
        client = library.rd_kafka_new(_PRODUCER, settings, reason, len(reason))
        if not client:
            raise Unavailable(_WHO, f"{reason.value.decode()}; point --kafka at a real broker instead")
        cluster = library.rd_kafka_mock_cluster_new(client, 1)
        if not cluster:
            library.rd_kafka_destroy(client)
            raise Unavailable(_WHO, "no loopback port could be opened; point --kafka at a real broker instead")
        broker = cls(library, client, cluster)
        try:
            for topic in topics:
                broker.create(topic)
        except Unavailable:
            broker.stop()
            raise
        return broker

    def stop(self) -> None:
        """Close every connection and forget every record. May be called again."""
        if self._cluster is not None:
            with self._awake():
                self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def create(self, topic: Topic) -> None:
        """Create one topic with its partitions. `cleanup` is not kept: see the module's docstring."""
        self._do(f"create {topic.name}", "topic_create", topic.name.encode(), topic.partitions, 1)

    def down(self) -> None:
        """Close every connection and refuse new ones; records are kept. Back with `up`."""
        self._do("go down", "broker_set_down", _BROKER_ID)

    def up(self) -> None:
        """Accept connections again, after `down`, at the same address."""
        self._do("come up", "broker_set_up", _BROKER_ID)

    def trim(self, topic: str, partition: int, before_offset: int) -> None:
        """Forget a partition's records before an offset, as retention would."""
        self._do(f"trim {topic}/{partition}", "partition_delete_records", topic.encode(), partition, before_offset)

    def _do(self, what: str, function: str, *arguments: object) -> None:
        if self._cluster is None:
            raise Unavailable(_WHO, f"cannot {what}: it has been stopped; start another")
        with self._awake():
            code = getattr(self._library, f"rd_kafka_mock_{function}")(self._cluster, *arguments)
        if code:
            raise Unavailable(_WHO, f"cannot {what}: {self._library.rd_kafka_err2str(code).decode()}")

    @contextlib.contextmanager
    def _awake(self) -> Iterator[None]:
        """Knock at the broker's port until an order has been carried out.

        The cluster's thread looks for orders, then clears its bell: an order that came in between waits until the
        thread's poll of one second ends. Any connection ends the poll at once.
        """
        host, _, port = self.address.rpartition(":")
        done = threading.Event()

        def knock() -> None:
            while not done.wait(_KNOCK_SECONDS):
                with contextlib.suppress(OSError):
                    socket.create_connection((host, int(port)), timeout=1.0).close()

        knocking = threading.Thread(target=knock, daemon=True)
        knocking.start()
        try:
            yield
        finally:
            done.set()
            knocking.join()


def library_path() -> Path:
    """Where the wheel keeps librdkafka: `confluent_kafka.libs` on Linux, `.dylibs` on macOS. Raises `Unavailable`."""
    package = Path(str(confluent_kafka.__file__)).parent
    places = ((package.parent / "confluent_kafka.libs", "librdkafka*.so*"), (package / ".dylibs", "librdkafka*.dylib"))
    found = sorted(path for folder, pattern in places for path in folder.glob(pattern))
    if not found:
        raise Unavailable(
            _WHO,
            "this confluent-kafka carries no librdkafka of its own (built from source?): install its wheel, "
            "or point --kafka at a real broker",
        )
    return found[0]


def _load() -> ctypes.CDLL:
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise Unavailable(_WHO, f"{path.name} cannot be used ({error}); point --kafka at a real broker") from error
    return library
