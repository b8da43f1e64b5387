"""The two ends that touch Kafka, against a broker: nothing is skipped, nothing vanishes, the end comes when asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from embedded.broker import EmbeddedBroker
from engine.drain import Drain
from engine.kafka_sink import DeliveryFailed, KafkaWriter, producer
from engine.revalue import Publication
from engine.sources import KafkaRecords, LogLost, Poll
from engine.topics import TopicMismatch, describe, ensure_topics
from engine.window import Window
from plimsoll import topics
from plimsoll.errors import PlimsollError, Unavailable
from plimsoll.transport import Kafka

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} within {seconds:g} s")
        time.sleep(0.005)
    return answer


def send(address: str, topic: str, partition: int, values: list[bytes]) -> None:
    client = Producer({"bootstrap.servers": address})
    for value in values:
        client.produce(topic, key=b"k", value=value, partition=partition)
    assert client.flush(10) == 0


def read(reader: Any, count: int) -> list[Poll]:
    polls: list[Poll] = []
    until(lambda: polls.extend(reader.next_batch()) or sum(len(p.records) for p in polls) >= count, f"{count} records")
    return polls


def reader(address: str, resume: dict[tuple[str, int], int] | None = None, index: int = 0, workers: int = 1) -> Any:
    return KafkaRecords(Kafka(address), index, workers, Drain()).build_part("step", f"{index}/{workers}", resume)


# --- in ---------------------------------------------------------------------------------------------------------------


def test_a_worker_reads_its_own_portfolios_and_all_of_the_market(broker_address: str) -> None:
    for partition in range(12):
        send(broker_address, "portfolio-updates", partition, [b"%d" % partition])
    for partition in range(3):
        send(broker_address, "market-data", partition, [b"%d" % partition])
    send(broker_address, "market-closes", 0, [b"0"])
    second = reader(broker_address, index=1, workers=2)
    got = {(r.topic, r.partition) for p in read(second, 10) for r in p.records}
    second.close()
    assert {p for topic, p in got if topic == "portfolio-updates"} == {1, 3, 5, 7, 9, 11}
    assert {p for topic, p in got if topic == "market-data"} == {0, 1, 2}
    assert ("market-closes", 0) in got


def test_what_a_record_carries_beside_its_value_changes_nothing(broker_address: str) -> None:
    client = Producer({"bootstrap.servers": broker_address})
    trace = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    for headers in ([trace], [trace, ("traceparent", b"twice"), ("odd", None), ("bytes", b"\xff\x00")], None):
        client.produce("portfolio-updates", key=b"p-1", value=b"same", partition=0, headers=headers)
    assert client.flush(10) == 0
    first = reader(broker_address)
    got = [record for poll in read(first, 3) for record in poll.records]
    first.close()
    assert [(record.key, record.value, record.offset) for record in got] == [(b"p-1", b"same", n) for n in range(3)]


def test_a_reader_goes_on_where_its_state_says_and_reads_the_closes_again(broker_address: str) -> None:
    send(broker_address, "portfolio-updates", 3, [b"a", b"b"])
    send(broker_address, "market-closes", 0, [b"x", b"y"])
    first = reader(broker_address)
    read(first, 4)
    state = first.snapshot()
    first.close()
    send(broker_address, "portfolio-updates", 3, [b"c"])
    second = reader(broker_address, resume=state)
    values = sorted(r.value for p in read(second, 3) for r in p.records)
    second.close()
    assert values == [b"c", b"x", b"y"]


def test_caught_up_is_said_once_the_market_from_before_the_start_was_handed_over(broker_address: str) -> None:
    send(broker_address, "market-closes", 0, [b"x"] * 5)
    one = reader(broker_address)
    polls: list[Poll] = []
    until(lambda: polls.extend(one.next_batch()) or any(p.caught_up for p in polls), "end of the market")
    one.close()
    seen = 0
    for poll in polls:
        seen += len(poll.records)
        assert poll.caught_up == (seen == 5) or not poll.caught_up
    assert polls[-1].caught_up


def test_an_empty_market_is_caught_up_at_once(broker_address: str) -> None:
    one = reader(broker_address)
    polls: list[Poll] = []
    until(lambda: polls.extend(one.next_batch()) or polls, "word of an empty market")
    one.close()
    assert polls == [Poll([], caught_up=True)]


def test_an_offset_that_kafka_no_longer_holds_is_refused_by_name(embedded_broker: EmbeddedBroker) -> None:
    send(embedded_broker.address, "portfolio-updates", 3, [b"a"] * 10)
    embedded_broker.trim("portfolio-updates", 3, 8)
    one = reader(embedded_broker.address, resume={("portfolio-updates", 3): 2})
    with pytest.raises(LogLost, match=r"portfolio-updates \[3\] no longer holds offset 2,.* --rebuild"):
        until(lambda: list(one.next_batch()) and False, "refusal")
    one.close()


def test_a_reader_that_is_told_to_drain_ends(broker_address: str) -> None:
    drain = Drain()
    one = KafkaRecords(Kafka(broker_address), 0, 1, drain).build_part("step", "0/1", None)
    drain.ask()
    with pytest.raises(StopIteration):
        one.next_batch()
    one.close()


# --- out --------------------------------------------------------------------------------------------------------------


def window(count: int) -> Window:
    return Window([Publication(f"p-{n}", 1.0, b'{"n":%d}' % n, b"", b"", 0, False) for n in range(count)])


def consumed(address: str, topic: topics.Topic, count: int) -> list[Any]:
    client = Consumer({"bootstrap.servers": address, "group.id": "t", "auto.offset.reset": "earliest"})
    client.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
    got: list[Any] = []
    until(lambda: got.extend(m for m in client.consume(1000, 0.1) if m.error() is None) or len(got) >= count, "records")
    client.close()
    return got


def test_the_epoch_waits_until_kafka_has_everything(broker_address: str) -> None:
    writer = KafkaWriter(producer(Kafka(broker_address)), Drain())
    writer.write_batch([window(1_000)])
    writer.snapshot()
    got = consumed(broker_address, topics.RISK_UPDATES, 1_000)
    assert sorted(m.key().decode() for m in got) == sorted(f"p-{n}" for n in range(1_000))


def test_a_record_that_was_given_up_ends_the_worker_instead_of_vanishing() -> None:
    gives_up = Producer({"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 50, "log_level": 0})
    writer = KafkaWriter(gives_up, Drain())
    writer.write_batch([window(1)])
    with pytest.raises(DeliveryFailed, match=r"risk-updates: .*timed out"):
        writer.snapshot()


def test_while_kafka_is_away_the_epoch_waits_and_then_completes(embedded_broker: EmbeddedBroker) -> None:
    class Outage(Drain):
        """Brings the broker back after the epoch has been seen waiting three times."""

        waited = 0

        @property
        def overdue(self) -> bool:
            self.waited += 1
            if self.waited == 3:
                embedded_broker.up()
            return False

    first = KafkaWriter(producer(Kafka(embedded_broker.address)), Drain())
    first.write_batch([window(1)])
    first.snapshot()
    outage = Outage()
    writer = KafkaWriter(first._client, outage)
    embedded_broker.down()
    writer.write_batch([window(10)])
    writer.snapshot()
    assert outage.waited >= 3
    assert len(consumed(embedded_broker.address, topics.RISK_UPDATES, 11)) == 11


def test_a_stop_does_not_wait_for_kafka_for_ever() -> None:
    drain = Drain()
    writer = KafkaWriter(producer(Kafka("127.0.0.1:1")), drain)
    writer.write_batch([window(3)])
    drain.ask()
    drain._asked_at -= 60.0
    with pytest.raises(Unavailable, match=r"\d+ records unacknowledged"):
        writer.snapshot()


# --- topics -----------------------------------------------------------------------------------------------------------


def test_topics_that_agree_are_left_alone(broker_address: str) -> None:
    ensure_topics(Kafka(broker_address), 1)
    assert [(t["topic"], t["partitions"]) for t in describe(Kafka(broker_address))] == [
        (t.name, t.partitions) for t in topics.ALL
    ]


def test_another_partition_count_is_refused_with_the_remedy() -> None:
    with (
        EmbeddedBroker.start([topics.Topic("portfolio-updates", 4, "compact"), *topics.ALL[1:]]) as broker,
        pytest.raises(TopicMismatch, match=r"portfolio-updates has 4 partitions, not 12.*plimsoll topics"),
    ):
        ensure_topics(Kafka(broker.address), 1)


def test_a_broker_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.topics._TIMEOUT_SECONDS", 0.3)
    with pytest.raises(PlimsollError, match=r"127\.0\.0\.1:1 \(set KAFKA_BROKERS"):
        ensure_topics(Kafka("127.0.0.1:1"), 1)
