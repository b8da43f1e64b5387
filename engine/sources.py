"""Kafka into the flow: one consumer for everything a worker reads.

A worker reads its own partitions of `portfolio-updates` and all of `market-data` and `market-closes`; that every
worker reads the market is the broadcast. There is no consumer group: partitions are dealt by a pure function, and
offsets live in the recovery state, so the positions and the offsets they came from can never disagree.

`auto.offset.reset=error`: where Kafka no longer holds an offset we were to read, the default would jump to the end of
the log and go on, healthy and wrong.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from typing_extensions import override

from engine.dealing import partitions_of, worker_name
from engine.drain import Drain
from engine.ledger import Record
from engine.vitals import Vitals
from plimsoll import topics
from plimsoll.errors import PlimsollError
from plimsoll.logs import AtMostEvery
from plimsoll.transport import Heard, Kafka

log = logging.getLogger(__name__)
kafka_log = logging.getLogger("librdkafka")
kafka_log.addFilter(AtMostEvery(seconds=5.0))

BATCH_RECORDS_MAX = 2_000
IDLE = timedelta(milliseconds=2)
"""How long an empty poll waits before the next: what an idle worker costs against what a tick waits."""

LAG_SECONDS = 1.0
DEPENDENCY = "Kafka"

Offsets = dict[tuple[str, int], int]


class LogLost(PlimsollError):
    """Kafka no longer holds what was to be read next. Rebuild from what it holds: start once with --rebuild."""

    lasting = True


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll brought; `caught_up` once every market record from before the start has been handed over."""

    records: list[Record]
    caught_up: bool


class KafkaRecords(FixedPartitionedSource[Poll, Offsets]):
    """Everything that worker `worker_index` of `workers` reads, as one source partition."""

    def __init__(
        self, kafka: Kafka, worker_index: int, workers: int, drain: Drain, *, vitals: Vitals | None = None
    ) -> None:
        self.kafka = kafka
        self._heard = Heard(kafka)
        self.worker_index = worker_index
        self.workers = workers
        self.drain = drain
        self.vitals = vitals or Vitals(worker_name(worker_index, workers))

    @override
    def list_parts(self) -> list[str]:
        return [worker_name(self.worker_index, self.workers)]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: Offsets | None) -> _Reader:
        assigned = self._assignment(resume_state or {})
        return _Reader(self._consumer(), assigned, self.drain, self.vitals, heard=self._heard)

    def _assignment(self, resume: Offsets) -> list[TopicPartition]:
        mine = partitions_of(self.worker_index, self.workers, topics.PORTFOLIO_UPDATES.partitions)
        read = [(topics.PORTFOLIO_UPDATES.name, partition) for partition in mine]
        read += [(topics.MARKET_DATA.name, partition) for partition in range(topics.MARKET_DATA.partitions)]
        assigned = [TopicPartition(*where, resume.get(where, OFFSET_BEGINNING)) for where in read]
        # Closes are few and the scenario set needs all of them, so they are read again rather than saved.
        return assigned + [
            TopicPartition(topics.MARKET_CLOSES.name, partition, OFFSET_BEGINNING)
            for partition in range(topics.MARKET_CLOSES.partitions)
        ]

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **self.kafka.librdkafka(),
                "group.id": "plimsoll-engine",  # the client wants one; nothing is committed to it
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "fetch.wait.max.ms": 10,
                # The default of a second makes a reader that catches up stand still whenever its queue is full.
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": 32_768,
                # Waiting for Redis is not dying; without a group nobody could take over anyway.
                "max.poll.interval.ms": 86_400_000,
                "log_level": 3,
                "error_cb": self._hear,
            },
            logger=kafka_log,
        )

    def _hear(self, error: KafkaError) -> None:
        """What the client says of its connections, in the thread that polls it."""
        self._heard(error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the library's own public spelling
            self.vitals.waits_for(DEPENDENCY, error.str())
        _say(error)


class _Reader(StatefulSourcePartition[Poll, Offsets]):
    """One consumer. Its state is the next offset of each partition."""

    def __init__(
        self,
        consumer: Consumer,
        assigned: list[TopicPartition],
        drain: Drain,
        vitals: Vitals | None = None,
        *,
        heard: Heard,
    ) -> None:
        self._consumer = consumer
        self._heard = heard
        self._drain = drain
        self._vitals = vitals or Vitals("")
        self._lag_at = 0.0
        self._next: Offsets = {(part.topic, part.partition): part.offset for part in assigned if part.offset >= 0}
        self._behind = {
            (part.topic, part.partition) for part in assigned if part.topic != topics.PORTFOLIO_UPDATES.name
        }
        self._idle = False
        consumer.assign(assigned)

    @override
    def next_batch(self) -> Iterable[Poll]:
        if self._drain.asked:
            raise StopIteration
        self._vitals.turned()
        self._measure_lag()
        behind = bool(self._behind)
        messages = self._consumer.consume(BATCH_RECORDS_MAX, timeout=0)
        self._idle = not messages
        if self._heard.refused is not None:
            raise self._heard.refused
        if messages:
            self._vitals.has(DEPENDENCY)
        records = []
        for message in messages:
            error = message.error()
            topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
            where = (topic, partition)
            if error is None:
                self._next[where] = offset + 1
                _, time_ms = message.timestamp()
                records.append(Record(topic, partition, offset, message.key(), message.value(), time_ms))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own public spelling
                self._behind.discard(where)
            else:
                self._refuse(error, where)
        if records or (behind and not self._behind):
            return [Poll(records, caught_up=not self._behind)]
        return []

    def _measure_lag(self) -> None:
        """Once a second, from what the last fetches said of each partition's end: nobody is asked for it."""
        now = time.monotonic()
        if now - self._lag_at < LAG_SECONDS:
            return
        self._lag_at = now
        lag = {}
        for (topic, partition), following in self._next.items():
            known = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            if known is not None and known[1] >= 0:
                lag[topic, partition] = max(0, known[1] - following)
        self._vitals.lag(lag)

    def _refuse(self, error: KafkaError, where: tuple[str, int]) -> None:
        """Errors that come in place of a record. What passes by itself is logged; the rest ends the worker."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            raise LogLost(
                f"{where[0]} [{where[1]}] no longer holds offset {self._next.get(where)}, which was to be read next "
                f"({error.str()}). Start once with --rebuild to build anew from what the log still holds"
            )
        self._heard(error)
        if self._heard.refused is not None:
            raise self._heard.refused
        if error.fatal() or not (error.retriable() or error.code() in _PASSING):
            raise PlimsollError(f"Kafka refused to serve {where[0]} [{where[1]}]: {error.str()}")
        _say(error)

    @override
    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + IDLE if self._idle else None

    @override
    def snapshot(self) -> Offsets:
        return dict(self._next)

    @override
    def close(self) -> None:
        self._consumer.close()


_PASSING = {
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}


def _say(error: Any) -> None:  # noqa: ANN401 - the library hands over its own error type, untyped
    kafka_log.warning("%s", error)
