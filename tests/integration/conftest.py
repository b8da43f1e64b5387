"""A real Kafka beside the embedded broker, so that one test can say the same of both.

The real one is `KAFKA_BROKERS` where that is set, else Apache Kafka started here (`kafka/run.py`), once for the
session. Where neither can be had its tests are skipped with the reason, or fail if `REQUIRE_KAFKA=1` says that they
have to run. Our topics are deleted and created anew for every test; topics from outside that hold records are never
touched.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from embedded.child import Child
from embedded.store import free_port
from plimsoll import topics

_RUN = Path(__file__).parent / "kafka" / "run.py"
_CANNOT_RUN = 77
"""What `run.py` exits with where the machine lacks something."""
_READY_SECONDS = 110.0
"""Less than a test may last; the first time, most of it is Maven's."""
_TOPIC_SECONDS = 20.0
_PORT_TRIES = 3


@pytest.fixture(scope="session")
def kafka_address(outside: Mapping[str, str]) -> Iterator[str]:
    """host:port of a real Kafka, whose topics the tests may delete. Skips, or fails, where there is none."""
    if "KAFKA_BROKERS" in outside:
        address = outside["KAFKA_BROKERS"]
        _refuse_foreign_records(_admin(address), address)
        yield address
        _renew_topics(_admin(address))  # What is in them now came from the tests.
        return
    with tempfile.TemporaryDirectory(prefix="plimsoll-kafka-", ignore_cleanup_errors=True) as directory:
        broker, address = _start(Path(directory))
        yield address
        broker.stop(10.0)


@pytest.fixture
def real_broker(kafka_address: str) -> str:
    """host:port of a real Kafka whose topics are those of the contract, empty."""
    _renew_topics(_admin(kafka_address))
    return kafka_address


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def any_broker(request: pytest.FixtureRequest) -> str:
    """host:port of a broker with empty topics: the test runs twice, on the embedded one and on a real Kafka."""
    address: str = request.getfixturevalue("broker_address" if request.param == "embedded" else "real_broker")
    return address


def _start(directory: Path) -> tuple[Child, str]:
    """Start a broker and wait until it answers."""
    for attempt in range(1, _PORT_TRIES + 1):
        port, controller_port = free_port(), free_port()
        broker = Child.start(
            "kafka",
            [sys.executable, _RUN, directory / f"broker-{attempt}", str(port), str(controller_port)],
            environ=os.environ,
            log=directory / f"broker-{attempt}.log",
        )
        try:
            if _answers(broker, f"127.0.0.1:{port}"):
                return broker, f"127.0.0.1:{port}"
        finally:
            if sys.exc_info()[0] is not None:
                broker.stop(0.0)
        if broker.exit_code() == _CANNOT_RUN:
            _lacking(broker.tail(1))
        if "in use" not in broker.tail():
            break
    pytest.fail(f"Apache Kafka ended with exit code {broker.exit_code()}:\n{broker.tail()}", pytrace=False)


def _answers(broker: Child, address: str) -> bool:
    """Wait until the broker answers; False when it has ended."""
    deadline = time.monotonic() + _READY_SECONDS
    admin = _admin(address)
    while time.monotonic() < deadline:
        if broker.exit_code() is not None:
            return False
        try:
            if admin.list_topics(timeout=0.5).brokers:
                return True
        except KafkaException:
            continue
    pytest.fail(f"Apache Kafka did not answer within {_READY_SECONDS:g} s:\n{broker.tail()}", pytrace=False)


def _lacking(reason: str) -> None:
    if os.environ.get("REQUIRE_KAFKA") == "1":
        pytest.fail(f"REQUIRE_KAFKA=1, but {reason}", pytrace=False)
    pytest.skip(f"{reason}, and no KAFKA_BROKERS")


def _admin(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address, "log_level": 2, "reconnect.backoff.max.ms": 200})


def _existing(admin: AdminClient) -> dict[str, int]:
    """Those of our topics that exist, with the partitions that have a leader."""
    found = admin.list_topics(timeout=_TOPIC_SECONDS).topics
    return {
        topic.name: sum(partition.leader >= 0 for partition in found[topic.name].partitions.values())
        for topic in topics.ALL
        if topic.name in found and found[topic.name].error is None
    }


def _record_counts(admin: AdminClient, partition_counts: Mapping[str, int]) -> dict[str, int]:
    """How many offsets each topic spans. Raises `KafkaException` while a partition is not ready to say."""
    partitions = [TopicPartition(name, index) for name, count in partition_counts.items() for index in range(count)]
    if not partitions:
        return {}
    first = admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.earliest()), request_timeout=_TOPIC_SECONDS)
    last = admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest()), request_timeout=_TOPIC_SECONDS)
    counts = dict.fromkeys(partition_counts, 0)
    for at in partitions:
        counts[at.topic] += last[at].result().offset - first[at].result().offset
    return counts


def _refuse_foreign_records(admin: AdminClient, address: str) -> None:
    held = sorted(name for name, count in _record_counts(admin, _existing(admin)).items() if count)
    if held:
        pytest.fail(
            f"KAFKA_BROKERS ({address}) holds records in {', '.join(held)}, and tests delete topics: name a broker "
            "where these are empty or missing, or unset it and a broker is started for the tests",
            pytrace=False,
        )


def _renew_topics(admin: AdminClient) -> None:
    """Delete our topics and create them again; returns once every partition says that it is empty."""
    old = list(_existing(admin))
    for deleted in admin.delete_topics(old, operation_timeout=_TOPIC_SECONDS).values() if old else ():
        deleted.result(_TOPIC_SECONDS)
    deadline = time.monotonic() + _TOPIC_SECONDS
    missing = list(topics.ALL)
    while missing or not _all_empty(admin):
        if time.monotonic() > deadline:
            pytest.fail(f"Kafka did not create the topics anew within {_TOPIC_SECONDS:g} s: it has {_existing(admin)}")
        missing = _create(admin, missing) if missing else []
        time.sleep(0.01)


def _all_empty(admin: AdminClient) -> bool:
    wanted = {topic.name: topic.partitions for topic in topics.ALL}
    if _existing(admin) != wanted:
        return False
    try:
        return not any(_record_counts(admin, wanted).values())
    except KafkaException:
        # A new partition is in the metadata a moment before its leader answers for it.
        return False


def _create(admin: AdminClient, wanted: list[topics.Topic]) -> list[topics.Topic]:
    """Create topics; return those that have to be asked for again, because the old one is still being deleted."""
    asked = admin.create_topics([NewTopic(topic.name, topic.partitions, config=topic.config()) for topic in wanted])
    again = []
    for name, created in asked.items():
        try:
            created.result(_TOPIC_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            again.append(topics.BY_NAME[name])
    return again
