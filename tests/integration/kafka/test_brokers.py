"""What both brokers promise: the topics of the contract, empty for each test, and records in the order they came."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from plimsoll import topics


def test_the_topics_of_the_contract_are_there(any_broker: str) -> None:
    found = AdminClient({"bootstrap.servers": any_broker, "log_level": 2}).list_topics(timeout=10).topics

    assert {topic.name: len(found[topic.name].partitions) for topic in topics.ALL} == {
        topic.name: topic.partitions for topic in topics.ALL
    }


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_finds_its_topics_empty_and_reads_what_it_wrote(any_broker: str, turn: str) -> None:
    consumer = Consumer({"bootstrap.servers": any_broker, "group.id": turn, "log_level": 2})
    at = TopicPartition(topics.MARKET_DATA.name, 0, 0)
    assert consumer.get_watermark_offsets(at, timeout=10) == (0, 0)

    producer = Producer({"bootstrap.servers": any_broker, "compression.type": "lz4", "log_level": 2})
    for number in range(10):
        producer.produce(at.topic, f"{turn} {number}", key="AAPL", partition=at.partition)
    assert producer.flush(10) == 0

    consumer.assign([at])
    messages = consumer.consume(10, timeout=10)
    consumer.close()
    assert [message.value() for message in messages] == [f"{turn} {number}".encode() for number in range(10)]
