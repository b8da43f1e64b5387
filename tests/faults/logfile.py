"""Everything a Kafka log holds, read once from the beginning: the truth that all else is checked against.

Reading a log is not following it: the ends are taken when we start, and what is written later is not ours. A log that
does not begin at zero, or that has holes in it (it was trimmed or compacted), says so: who counts records has to know.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, TopicPartition

from engine.ledger import Record
from plimsoll import topics

READ_SECONDS_MAX = 60.0
IN = (topics.PORTFOLIO_UPDATES, topics.MARKET_DATA, topics.MARKET_CLOSES)
"""What the engine reads."""


@dataclass(frozen=True)
class Log:
    """The records of each topic in the order of their partitions; `ends` is the next offset of every partition."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def of(self, topic: topics.Topic) -> list[Record]:
        """The records of one topic, each partition's in its order."""
        return self.records.get(topic.name, [])

    def market(self) -> list[Record]:
        """All ticks and closes."""
        return [*self.of(topics.MARKET_CLOSES), *self.of(topics.MARKET_DATA)]

    def whole(self, names: Iterable[topics.Topic] = IN) -> bool:
        """Whether every record ever written to these topics is here still."""
        wanted = {topic.name for topic in names}
        ever = sum(end for (topic, _), end in self.ends.items() if topic in wanted)
        return ever == sum(len(self.records.get(topic, [])) for topic in wanted)

    @property
    def market_watermark(self) -> int:
        """How many market records there have ever been."""
        market = (topics.MARKET_DATA.name, topics.MARKET_CLOSES.name)
        return sum(end for (topic, _), end in self.ends.items() if topic in market)


def read_log(brokers: str, wanted: Iterable[topics.Topic] = topics.ALL) -> Log:
    """Read these topics from their first offset to their end as of now. Raises `TimeoutError`."""
    client = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "plimsoll-check",  # the client wants one; nothing is committed to it
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 2,
        }
    )
    log = Log({topic.name: [] for topic in wanted})
    try:
        starts = {}
        for topic in wanted:
            for number in range(topic.partitions):
                low, high = client.get_watermark_offsets(TopicPartition(topic.name, number), timeout=20.0)
                log.ends[topic.name, number] = high
                if high > low:
                    starts[topic.name, number] = low
        client.assign([TopicPartition(*where, low) for where, low in starts.items()])
        _read(client, log, set(starts))
    finally:
        client.close()
    for records in log.records.values():
        records.sort(key=lambda record: (record.partition, record.offset))
    return log


def _read(client: Consumer, log: Log, unread: set[tuple[str, int]]) -> None:
    deadline = time.monotonic() + READ_SECONDS_MAX
    while unread:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the end of {sorted(unread)} was not reached within {READ_SECONDS_MAX:g} s")
        for message in client.consume(5_000, 0.2):
            where = (message.topic(), message.partition())
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(where)
                continue
            if message.offset() < log.ends[where]:
                _, time_ms = message.timestamp()
                record = Record(*where, message.offset(), message.key(), message.value(), time_ms)
                log.records[where[0]].append(record)
            if message.offset() >= log.ends[where] - 1:
                unread.discard(where)
