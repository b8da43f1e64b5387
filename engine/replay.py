"""The Kafka side of dead letters: the topic read from its beginning, the log looked at since, records sent again.

Reading is assigned by hand, from given offsets to the ends as they were at the start; no consumer group is joined and
no offset committed, so looking changes nothing. Whoever waits for Kafka here is a person: silence has a limit, and then
says which brokers are silent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from engine.dead_letters import REPLAY_HEADER, Choice, Letters, LogSince, Send, Source, Where
from plimsoll import topics
from plimsoll.errors import PlimsollError, Unavailable
from plimsoll.messages import DeadLetter
from plimsoll.transport import Heard, Kafka

PATIENCE_SECONDS = 10.0
"""How long Kafka may be silent before we stop waiting."""
BATCH_RECORDS_MAX = 2_000
POLL_SECONDS = 0.1

Progress = Callable[[int, int], None]
"""Called with how many records have been read, of how many."""


class _Patience:
    """Runs out when a number, such as how much is still to be done, stays the same for too long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last: int | None = None
        self._since = 0.0

    def is_out(self, number: int) -> bool:
        """Whether nothing has moved for too long."""
        if number != self._last:
            self._last, self._since = number, time.monotonic()
        return time.monotonic() - self._since > self.seconds


class LogMoved(PlimsollError):
    """The log is not as it was a moment ago, or a topic is missing. Do what the text says, then ask again."""


# --- reading ----------------------------------------------------------------------------------------------------------


class Log:
    """A view of Kafka's log as it stands. Use as `with opened(kafka) as log`."""

    def __init__(self, kafka: Kafka, consumer: Consumer, patience_seconds: float, heard: Heard) -> None:
        self._kafka = kafka
        self._consumer = consumer
        self._heard = heard
        self._patience_seconds = patience_seconds

    def partitions(self, topic: str) -> list[int]:
        """The partitions there are. Raises `Unavailable`; `LogMoved` where there is no such topic."""
        try:
            found = self._consumer.list_topics(timeout=self._patience_seconds).topics.get(topic)
        except KafkaException as error:
            raise self._why(error) from None
        if found is None or found.error is not None:
            seen = f" that {self._kafka.username} may see" if self._kafka.signs_in else ""
            raise LogMoved(f"there is no topic {topic}{seen} at {self._kafka}: `plimsoll topics` creates it")
        return sorted(found.partitions)

    def span(self, where: Where) -> range:
        """The offsets that a partition holds now. Raises `Unavailable`."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*where), timeout=self._patience_seconds)
        except KafkaException as error:
            raise self._why(error) from None
        return range(low, high)

    def read(self, spans: dict[Where, range], take: Callable[[Any], None], progress: Progress) -> None:
        """Hand over every record that stands within the spans, in order within a partition.

        Raises `Unavailable` where Kafka falls silent, `LogMoved` where it forgets what we are about to read.
        """
        left = {where: span for where, span in spans.items() if span}
        total = sum(map(len, left.values()))
        reached = {where: span.start for where, span in left.items()}
        self._consumer.assign([TopicPartition(*where, span.start) for where, span in left.items()])
        patience = _Patience(self._patience_seconds)
        while left:
            for message in self._consumer.consume(BATCH_RECORDS_MAX, timeout=POLL_SECONDS):
                where, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
                span, error = left.get(where), message.error()
                if error is not None:
                    if self._is_end(error, where):
                        left.pop(where, None)
                elif span is not None:
                    if offset in span:
                        take(message)
                    reached[where] = min(offset + 1, span.stop)
                    # Compaction may have removed the last ones: whatever lies beyond says as well that we are through.
                    if reached[where] == span.stop:
                        del left[where]
            done = sum(reached[where] - spans[where].start for where in reached)
            progress(done, total)
            if left and patience.is_out(done):
                raise self._heard.refused or Unavailable(
                    "Kafka", f"nothing heard for {patience.seconds:g} s {self._kafka.where}"
                )
        self._consumer.unassign()

    def _is_end(self, error: KafkaError, where: Where) -> bool:
        """Whether what came in place of a record is the end of a partition. What passes by itself is waited for."""
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own public spelling
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            raise LogMoved(f"{where[0]}/{where[1]} was trimmed while it was read: run the same command again")
        if refused := self._kafka.refusal(error):
            raise refused
        if error.fatal():
            raise PlimsollError(f"Kafka refused to serve {where[0]}/{where[1]}: {error.str()}")
        return False

    def _why(self, error: KafkaException) -> Unavailable:
        self._consumer.poll(0)
        return self._heard.why(error)


@contextmanager
def opened(kafka: Kafka, patience_seconds: float = PATIENCE_SECONDS) -> Iterator[Log]:
    """A view of the log, closed afterwards."""
    heard = Heard(kafka)
    consumer = Consumer(
        {
            **kafka.librdkafka(),
            "group.id": "plimsoll-dead-letters",  # the client wants one; nothing is committed to it
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": 5,
            # Connection trouble is reported by the calls above; librdkafka's own log lines would only repeat it.
            "log_level": 0,
            "error_cb": heard,
        },
        logger=logging.getLogger("librdkafka"),
    )
    try:
        yield Log(kafka, consumer, patience_seconds, heard)
    finally:
        consumer.close()


@dataclass(slots=True)
class Found:
    """What the topic of dead letters holds; `forgotten` are those that its retention has dropped."""

    letters: Letters
    forgotten: int


def read_letters(log: Log, choice: Choice, progress: Progress, *, with_raw: bool = True) -> Found:
    """Every dead letter there is now. Raises `Unavailable`, `LogMoved`."""
    name = topics.DEAD_LETTERS.name
    spans = {(name, partition): log.span((name, partition)) for partition in log.partitions(name)}
    letters = Letters(choice, with_raw)
    log.read(spans, lambda message: letters.take(message.value()), progress)
    return Found(letters, sum(span.start for span in spans.values()))


def look_since(log: Log, letters: Sequence[DeadLetter], progress: Progress) -> LogSince:
    """What the log says from the letters' records on. Raises `Unavailable`, `LogMoved`."""
    since = LogSince(letters)
    spans: dict[Where, range] = {}
    there = {topic: log.partitions(topic) for topic in {topic for topic, _ in since.starts}}
    for where, start in since.starts.items():
        if where[1] in there[where[0]]:
            held = log.span(where)
            since.ends[where] = held.stop
            spans[where] = range(max(start, held.start), held.stop)

    def take(message: Any) -> None:  # noqa: ANN401 - the library's own type, untyped
        at = Source(message.topic(), message.partition(), message.offset())
        since.take(at, message.key(), message.value(), dict(message.headers() or ()).get(REPLAY_HEADER))

    log.read(spans, take, progress)
    return since


# --- sending ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Sent:
    """How a replay went. What is `unacknowledged` may or may not have arrived: a second run finds out."""

    delivered: list[tuple[Source, Source]] = field(default_factory=list)
    """The letter's source, and where its record stands now."""
    refused: list[tuple[Source, str]] = field(default_factory=list)
    unacknowledged: int = 0


def send(client: Producer, records: Sequence[Send], patience_seconds: float = PATIENCE_SECONDS) -> Sent:
    """Send records to where they came from: same topic, partition and key, with `REPLAY_HEADER`; wait for every ack.

    `client` is idempotent, so what arrives keeps this order. Where Kafka is silent for `patience_seconds`, what is left
    is given up and counted.
    """
    sent = Sent()
    patience = _Patience(patience_seconds)
    for record in records:
        while not _queue(client, record, sent) and not patience.is_out(len(sent.delivered)):
            client.poll(POLL_SECONDS)
    while client.flush(POLL_SECONDS):
        if patience.is_out(len(sent.delivered)):
            client.purge()
            client.flush(POLL_SECONDS)
            break
    sent.unacknowledged = len(records) - len(sent.delivered) - len(sent.refused)
    return sent


def _queue(client: Producer, record: Send, sent: Sent) -> bool:
    """Hand one record to the client; False where its queue is full."""
    letter, source = record.letter, Source.of(record.letter)

    def delivered(error: KafkaError | None, message: Any) -> None:  # noqa: ANN401 - the library's own type, untyped
        if error is None:
            sent.delivered.append((source, Source(message.topic(), message.partition(), message.offset())))
        elif error.code() not in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):  # noqa: SLF001
            sent.refused.append((source, error.str()))

    try:
        client.produce(
            letter.topic,
            key=letter.key,
            value=record.value,
            partition=letter.partition,
            headers=[(REPLAY_HEADER, str(source).encode())],
            on_delivery=delivered,
        )
    except BufferError:
        return False
    except KafkaException as error:
        sent.refused.append((source, error.args[0].str()))
    return True
