"""The embedded broker, asked through the same client as every other broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from embedded import broker as broker_module
from embedded.broker import EmbeddedBroker
from plimsoll import topics
from plimsoll.errors import Unavailable

BrokerFactory = Callable[[], EmbeddedBroker]
QUIET = {"log_level": 2}


def publish(address: str, topic: str, values: list[bytes], partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": address, "linger.ms": 0, **QUIET})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(10) == 0


def read(address: str, topic: str, count: int, partition: int = 0, offset: int = 0) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "auto.offset.reset": "error", **QUIET})
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        messages = consumer.consume(count, timeout=10)
        assert [message.error() for message in messages] == [None] * count
        return [message.value() for message in messages]
    finally:
        consumer.close()


def test_it_has_the_topics_and_partitions_of_the_contract(broker_address: str) -> None:
    metadata = AdminClient({"bootstrap.servers": broker_address, **QUIET}).list_topics(timeout=5)

    assert {name: len(topic.partitions) for name, topic in metadata.topics.items()} == {
        topic.name: topic.partitions for topic in topics.ALL
    }


def test_it_is_reached_on_loopback_only(broker_address: str) -> None:
    assert broker_address.rpartition(":")[0] in ("127.0.0.1", "localhost")


def test_what_is_published_is_read_back_in_order(broker_address: str) -> None:
    published = [f"tick {number}".encode() for number in range(100)]
    publish(broker_address, "market-data", published, partition=2)

    assert read(broker_address, "market-data", 100, partition=2) == published


def test_each_broker_starts_empty(embedded_broker_factory: BrokerFactory) -> None:
    with embedded_broker_factory() as first:
        publish(first.address, "market-data", [b"of the first"])
    with embedded_broker_factory() as second:
        consumer = Consumer({"bootstrap.servers": second.address, "group.id": "test", **QUIET})
        assert consumer.get_watermark_offsets(TopicPartition("market-data", 0), timeout=5) == (0, 0)
        consumer.close()


def test_down_refuses_and_up_remembers(embedded_broker: EmbeddedBroker) -> None:
    publish(embedded_broker.address, "market-data", [b"before"])

    embedded_broker.down()
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": embedded_broker.address, **QUIET}).list_topics(timeout=0.3)

    embedded_broker.up()
    assert read(embedded_broker.address, "market-data", 1) == [b"before"]


def test_a_trimmed_log_begins_where_it_was_cut(embedded_broker: EmbeddedBroker) -> None:
    publish(embedded_broker.address, "market-data", [b"0", b"1", b"2", b"3"])

    embedded_broker.trim("market-data", 0, before_offset=3)

    assert read(embedded_broker.address, "market-data", 1, offset=3) == [b"3"]
    consumer = Consumer({"bootstrap.servers": embedded_broker.address, "group.id": "test", **QUIET})
    assert consumer.get_watermark_offsets(TopicPartition("market-data", 0), timeout=5) == (3, 4)
    consumer.close()


def test_trimming_a_topic_that_is_not_there_is_refused(embedded_broker: EmbeddedBroker) -> None:
    with pytest.raises(Unavailable, match="cannot trim no-such-topic/0"):
        embedded_broker.trim("no-such-topic", 0, before_offset=1)


def test_stopping_twice_is_stopping_once(embedded_broker_factory: BrokerFactory) -> None:
    broker = embedded_broker_factory()
    broker.stop()
    broker.stop()

    with pytest.raises(Unavailable, match="it has been stopped"):
        broker.down()


def test_a_confluent_kafka_without_its_library_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(confluent_kafka, "__file__", str(tmp_path / "confluent_kafka" / "__init__.py"))

    with pytest.raises(Unavailable, match="install its wheel"):
        EmbeddedBroker.start()


def test_the_macos_wheel_keeps_its_library_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "confluent_kafka" / ".dylibs" / "librdkafka.1.dylib"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.setattr(confluent_kafka, "__file__", str(tmp_path / "confluent_kafka" / "__init__.py"))

    assert broker_module.library_path() == library
