"""The way to Kafka: topics made sure of, records sent in batches, every one of them acknowledged.

The only module of the producer that touches the network. It knows topics, keys and bytes, and nothing of prices or
portfolios. A key's partition is murmur2 of its UTF-8 bytes, as in every other Kafka client, so a portfolio keeps its
partition whoever writes it.

At most `IN_FLIGHT_MAX` records await the broker. Whoever publishes more waits: nothing is dropped and nothing queues
here. A batch is sent again until the broker has it; one that is refused for good, or not acknowledged within
`PATIENCE_SECONDS`, ends the publishing with `Unacknowledged`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code
from aiokafka.partitioner import murmur2

from plimsoll.errors import PlimsollError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from plimsoll.topics import Topic
    from plimsoll.transport import Kafka

    Acknowledgement = asyncio.Future[object]

_log = logging.getLogger(__name__)

IN_FLIGHT_MAX = 5_000
"""Records sent and not acknowledged: 10 MB of portfolios, and 250 ms of ticks at 20,000 a second."""
BATCH_SIZE_MAX = 128 * 1024
"""Bytes of one partition's batch before compression: well below the megabyte that Kafka takes."""
PATIENCE_SECONDS = 30.0
"""How long a broker may be away, at the start and afterwards, before we say so and stop."""
RETRY_SECONDS = 1.0
CLOSE_SECONDS_MAX = 0.5
"""aiokafka waits without end for a broker that is gone; whoever stops us does not."""

LOG_SECONDS = 10.0
"""Between two lines of the same kind from aiokafka."""

Record = tuple[bytes, bytes]
"""Key and value, as they lie in Kafka."""


class Unacknowledged(PlimsollError):
    """Kafka did not take a record. Mend what the text names and run the producer again: replays do no harm."""


class WrongTopic(PlimsollError):
    """A topic is missing and cannot be made, or is not as the contract says. Create it as the text says."""


class Sink(Protocol):
    """Whoever takes records: a `Publisher`, or a list in a test."""

    async def publish(self, topic: Topic, records: Sequence[Record]) -> None:
        """Take the records; those of one key stay in order."""

    async def settle(self) -> None:
        """Return when every record is acknowledged."""


class Publisher:
    """Sends records to topics that exist, and counts what the broker acknowledged.

    `on_acknowledged(topic name, records)` is called for each acknowledged batch. `kafka` is what `producer` speaks to.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        on_acknowledged: Callable[[str, int], None] | None = None,
        kafka: Kafka | None = None,
    ) -> None:
        self.acknowledged: Counter[str] = Counter()
        self.in_flight = 0
        self._producer = producer
        self._kafka = kafka
        self._on_acknowledged = on_acknowledged
        self._waiting: dict[Acknowledgement, tuple[float, str]] = {}
        self._failure: PlimsollError | None = None

    async def publish(self, topic: Topic, records: Sequence[Record]) -> None:
        """Send the records, those of one partition in their order. Raises `Unacknowledged`.

        Returns when they are handed to the client, which may be before the broker has them: see `settle`.
        """
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(partition_of(record[0], topic.partitions), []).append(record)
        for partition, batch in by_partition.items():
            for start in range(0, len(batch), IN_FLIGHT_MAX):
                await self._send(topic.name, partition, batch[start : start + IN_FLIGHT_MAX])

    async def settle(self) -> None:
        """Wait until everything published is acknowledged. Raises `Unacknowledged`."""
        await self._drain(room_for=IN_FLIGHT_MAX)

    async def close(self) -> None:
        """Give what is in flight a moment, then hang up; never more than twice `CLOSE_SECONDS_MAX`."""
        with contextlib.suppress(PlimsollError, TimeoutError):
            await asyncio.wait_for(self.settle(), CLOSE_SECONDS_MAX)
        await _bounded(self._producer.stop())

    async def _send(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Send records of one partition in as few batches as they fit into."""
        await self._drain(room_for=len(records))
        # Taken before anything is awaited, so that two who publish at once do not both take the same room.
        self.in_flight += len(records)
        handed_over = 0
        try:
            while handed_over < len(records):
                batch, count = self._producer.create_batch(), 0
                for key, value in records[handed_over:]:
                    if batch.append(timestamp=None, key=key, value=value) is None:
                        break
                    count += 1
                batch.close()
                await self._hand_over(batch, count, topic, partition)
                handed_over += count
        finally:
            self.in_flight -= len(records) - handed_over

    async def _hand_over(self, batch: object, count: int, topic: str, partition: int) -> None:
        try:
            future = await self._producer.send_batch(batch, topic, partition=partition)
        except KafkaError as error:
            raise self._failed(topic, error) from None
        self._waiting[future] = (time.monotonic(), topic)
        future.add_done_callback(lambda done: self._answered(topic, count, done))

    def _answered(self, topic: str, count: int, future: Acknowledgement) -> None:
        self.in_flight -= count
        del self._waiting[future]
        if future.cancelled():
            return
        if error := future.exception():
            self._failure = self._failure or self._failed(topic, error)
            return
        self.acknowledged[topic] += count
        if self._on_acknowledged:
            self._on_acknowledged(topic, count)

    async def _drain(self, room_for: int) -> None:
        """Wait for the oldest batches until `room_for` more records may be in flight."""
        # A batch leaves `_waiting` in `_answered` and nowhere else, so that none is passed over unheard.
        while self._waiting and self.in_flight + room_for > IN_FLIGHT_MAX:
            oldest, (sent_at, topic) = next(iter(self._waiting.items()))
            patience = sent_at + PATIENCE_SECONDS - time.monotonic()
            if patience <= 0 and not oldest.done():
                remedy = "see whether the broker is up"
                raise Unacknowledged(f"{topic}: not acknowledged within {PATIENCE_SECONDS:g} s; {remedy}")
            # `wait` leaves the batch alone when we are cancelled: what is on its way is not called back.
            await asyncio.wait([oldest], timeout=max(0.0, patience))
        if self._failure:
            raise self._failure

    def _failed(self, topic: str, error: BaseException) -> PlimsollError:
        if self._kafka is not None and (refused := self._kafka.refusal(error)):
            return refused
        return Unacknowledged(f"{topic}: {_reason(error)}; see whether the broker is up and takes records")


@lru_cache(maxsize=1 << 17)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Kafka's own default partitioner deals them."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


async def connect(
    kafka: Kafka,
    topics: Sequence[Topic],
    *,
    replication_factor: int = 1,
    patience_seconds: float = PATIENCE_SECONDS,
    on_acknowledged: Callable[[str, int], None] | None = None,
) -> Publisher:
    """A publisher on brokers that have the topics, created where they were missing.

    Tries again for `patience_seconds`. Raises `Unavailable` when no broker answered until then, or at once where one
    refuses us; and `WrongTopic`.
    """
    for name in ("aiokafka", "aiokafka.producer.sender"):
        logging.getLogger(name).addFilter(_SELDOM)
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with _hushed():
                async with asyncio.timeout(max(0.1, deadline - time.monotonic())):
                    await _make_sure_of(topics, kafka, replication_factor)
                    return Publisher(await _started(kafka), on_acknowledged, kafka)
        except (KafkaError, OSError, TimeoutError) as error:
            if refused := kafka.refusal(error) or await _refusal(kafka):
                raise refused from None
            left = deadline - time.monotonic()
            reason = _reason(error)
            if left <= 0:
                remedy = "start it, or name another with KAFKA_BROKERS or --broker"
                if not kafka.encrypted:
                    remedy += "; where it speaks TLS, set PLIMSOLL_KAFKA_SECURITY"
                raise Unavailable(f"Kafka at {kafka}", f"{reason}; {remedy}") from None
            _log.warning("no Kafka at %s yet, trying for another %.0f s", kafka, left, extra={"reason": reason})
        await asyncio.sleep(min(RETRY_SECONDS, max(0.0, deadline - time.monotonic())))


async def _refusal(kafka: Kafka) -> PlimsollError | None:
    """Why a broker does not let us in; None where it is not that. Without TLS nobody is asked who they are."""
    if not kafka.encrypted:
        return None
    with _hushed():
        return await kafka.knock(create_conn)


async def _started(kafka: Kafka) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        **kafka.aiokafka(),
        client_id="plimsoll-producer",
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        max_batch_size=BATCH_SIZE_MAX,
        request_timeout_ms=int(PATIENCE_SECONDS * 1000),
    )
    try:
        await producer.start()
    except BaseException:  # Also when we are cancelled: its connections would outlive us.
        await _bounded(producer.stop())
        raise
    return producer


async def _make_sure_of(topics: Sequence[Topic], kafka: Kafka, replication_factor: int) -> None:
    """See that every topic is there with its partitions, creating what is missing. Raises `WrongTopic`."""
    admin = AIOKafkaAdminClient(**kafka.aiokafka(), client_id="plimsoll-producer")
    try:
        await admin.start()
        partitions = await _partitions_by_topic(admin)
        missing = [topic for topic in topics if topic.name not in partitions]
        refusals = await _refusals(admin, missing, replication_factor) if missing else {}
        if missing and not refusals:
            partitions = await _listed(admin, missing)
        for topic in topics:
            _require(topic, partitions.get(topic.name), refusals.get(topic.name, "the broker does not list it"))
    finally:
        await _bounded(admin.close())


async def _partitions_by_topic(admin: AIOKafkaAdminClient) -> dict[str, int]:
    # All topics are asked for: to ask for one by name is to have it created with the broker's defaults.
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(None)}


async def _refusals(admin: AIOKafkaAdminClient, topics: Sequence[Topic], replication_factor: int) -> dict[str, str]:
    """Ask for the topics; why not, by name, for those that the broker will not make."""
    cluster = await admin.describe_cluster()
    if cluster["controller_id"] not in {broker["node_id"] for broker in cluster["brokers"]}:
        # As an embedded broker answers, and aiokafka would fall over.
        return {topic.name: "the broker names no controller that could create topics" for topic in topics}
    wanted = [
        NewTopic(topic.name, topic.partitions, replication_factor, topic_configs=topic.config()) for topic in topics
    ]
    try:
        answer = await admin.create_topics(wanted)
    except KafkaError as error:
        if error.retriable:
            raise
        return {topic.name: f"the broker cannot create topics ({type(error).__name__})" for topic in topics}
    refusals: dict[str, str] = {}
    for name, code, *message in answer.topic_errors:
        kind = for_code(code)
        # Somebody else may have created it in the meantime; its partitions are looked at all the same.
        if kind is TopicAuthorizationFailedError:
            refusals[name] = "this user may not create it, or may not see it (docs/SECURITY.md)"
        elif code != 0 and kind is not TopicAlreadyExistsError:
            refusals[name] = f"{kind.__name__} {message[0] if message and message[0] else ''}".strip()
    return refusals


async def _listed(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> dict[str, int]:
    """Partitions by topic, as soon as the brokers have told one another of the new topics."""
    while True:
        partitions = await _partitions_by_topic(admin)
        if all(partitions.get(topic.name) for topic in topics):
            return partitions
        await asyncio.sleep(0.05)


def _require(topic: Topic, partitions: int | None, refusal: str) -> None:
    remedy = f"create it with {topic.partitions} partitions and cleanup.policy={topic.cleanup}"
    if partitions is None:
        raise WrongTopic(f"topic {topic.name} is missing: {refusal}; {remedy}")
    if partitions != topic.partitions:
        raise WrongTopic(
            f"topic {topic.name} has {partitions} partitions and not {topic.partitions}; delete it and {remedy}"
        )


async def _bounded(closing: Coroutine[object, object, object]) -> None:
    """Close a client, or leave it after `CLOSE_SECONDS_MAX`: the broker it waits for may be gone."""
    task = asyncio.ensure_future(closing)
    # Not `wait_for`, which waits on for a task that will not be cancelled.
    await asyncio.wait([task], timeout=CLOSE_SECONDS_MAX)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and (error := task.exception()):
        _log.debug("closing the Kafka client failed", extra={"reason": str(error)})


def _reason(error: BaseException) -> str:
    """What an error says, with its kind; aiokafka's own texts begin with it already."""
    kind, text = type(error).__name__, str(error)
    return text if text.startswith(kind) else f"{kind}: {text}".removesuffix(": ")


class _Seldom(logging.Filter):
    """Lets each kind of line through once in a while: while a broker is away aiokafka writes forty a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._said_at.get(str(record.msg), -LOG_SECONDS) < LOG_SECONDS:
            return False
        self._said_at[str(record.msg)] = now
        return True


_SELDOM = _Seldom()


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Without aiokafka's own lines about a broker that is away; we say it once, with the remedy."""
    logger = logging.getLogger("aiokafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
