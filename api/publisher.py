"""One Kafka producer for each API process: publishes, and answers when the brokers have it.

It connects in the background, so the API starts and reads without Kafka. A record is acknowledged by all replicas or
not at all; whoever publishes waits five seconds at most and is then told `Unavailable`. Such a record may still arrive
late: Kafka's protocol cannot take it back. The trace that a record belongs to goes with it in its headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from api.tracing import kafka_headers
from plimsoll.errors import Refused, Unavailable
from plimsoll.topics import ALL, Topic
from plimsoll.transport import Kafka

ACKNOWLEDGED_WITHIN_SECONDS = 5.0
PROBE_SECONDS = 5.0
"""How often an idle connection is asked whether Kafka still answers."""
RETRY_SECONDS_MAX = 2.0
STOP_SECONDS = 0.5
IN_FLIGHT_MAX = 1_000
"""Records awaiting their acknowledgement; more wait their turn, within their own five seconds."""

_RETRY_SECONDS_FIRST = 0.1
_log = logging.getLogger(__name__)
_AWAY = (KafkaError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Where a record stands in its topic."""

    topic: str
    partition: int
    offset: int


class Publisher:
    """Publishes records. `run` it as long as the process lives."""

    def __init__(self, kafka: Kafka, replication_factor: int) -> None:
        self._kafka = kafka
        self._replication_factor = replication_factor
        self._producer: AIOKafkaProducer | None = None
        self._started = asyncio.Event()
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)
        self.connected = False
        self.refused: Refused | None = None
        """Why the brokers do not let us in; None where they do, or where none answers."""

    async def publish(self, topic: Topic, key: str, value: bytes, partition: int | None = None) -> Acknowledged:
        """Send one record and wait until all replicas have it. Raises `Unavailable`.

        `partition` None leaves the choice to the key, as Kafka's own clients make it.
        """
        return (await self.publish_all(topic, [(key, value)], partition))[0]

    async def publish_all(
        self, topic: Topic, records: Sequence[tuple[str, bytes]], partition: int | None = None
    ) -> list[Acknowledged]:
        """Send several records and wait for all. Raises `Unavailable`; some of them may then have arrived."""
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_SECONDS):
                await self._started.wait()
                return list(await asyncio.gather(*(self._send(topic, key, value, partition) for key, value in records)))
        except _AWAY as error:
            if refused := self._kafka.refusal(error) or self.refused:
                # The names are for the log: whoever asks has only to know that it is not their doing.
                self._note(refused)
                raise Unavailable("Kafka", f"{refused.what}; the server's log says more") from error
            self.connected = False
            raise Unavailable(
                "Kafka", "it acknowledged nothing in time; the update may yet arrive, so look before you repeat it"
            ) from error

    async def _send(self, topic: Topic, key: str, value: bytes, partition: int | None) -> Acknowledged:
        assert self._producer is not None  # noqa: S101  # `_started` says so
        async with self._in_flight:
            sent = await self._producer.send_and_wait(
                topic.name, value, key=key.encode(), partition=partition, headers=kafka_headers()
            )
        self._note(None)
        self.connected = True
        return Acknowledged(topic.name, sent.partition, sent.offset)

    async def run(self) -> None:
        """Connect, and keep `connected` true to life. Ends only by being cancelled."""
        delay = _RETRY_SECONDS_FIRST
        try:
            while self._producer is None:
                try:
                    await self._connect()
                except _AWAY as error:
                    # aiokafka takes a cancellation that meets it while it connects for one of its own.
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        raise asyncio.CancelledError from None
                    # Once: what follows is the same news.
                    level = logging.WARNING if delay == _RETRY_SECONDS_FIRST else logging.DEBUG
                    self._note(await self._refusal(error))
                    if self.refused is None:
                        _log.log(level, "Kafka at %s does not answer: %s", self._kafka, error)
                    await asyncio.sleep(delay)
                    delay = min(RETRY_SECONDS_MAX, 2 * delay)
            while True:
                await asyncio.sleep(PROBE_SECONDS)
                await self._probe()
        finally:
            await self._stop(self._producer)

    async def _connect(self) -> None:
        producer = AIOKafkaProducer(
            **self._kafka.aiokafka(),
            client_id="plimsoll-api",
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            request_timeout_ms=int(ACKNOWLEDGED_WITHIN_SECONDS * 1000),
        )
        try:
            await self._create_missing_topics()
            await producer.start()
        except BaseException:  # Also when we are cancelled: its connections would outlive us.
            await self._stop(producer)
            raise
        self._producer = producer
        self._note(None)
        self.connected = True
        self._started.set()

    async def _create_missing_topics(self) -> None:
        """A broker that makes topics by itself makes them with the wrong number of partitions."""
        admin = AIOKafkaAdminClient(**self._kafka.aiokafka(), client_id="plimsoll-api")
        try:
            await admin.start()
            known = await admin.list_topics()
            missing = [
                NewTopic(topic.name, topic.partitions, self._replication_factor, topic_configs=topic.config())
                for topic in ALL
                if topic.name not in known
            ]
            if missing:
                with contextlib.suppress(TopicAlreadyExistsError):  # somebody else was quicker
                    await admin.create_topics(missing)
        finally:
            await admin.close()

    async def _probe(self) -> None:
        assert self._producer is not None  # noqa: S101
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._producer.client.fetch_all_metadata()
            self._note(None)
            self.connected = True
        except _AWAY as error:
            self.connected = False
            self._note(await self._refusal(error))

    async def _refusal(self, error: Exception) -> Refused | None:
        """Why a broker does not let us in; None where it is not that. Without TLS nobody is asked who they are."""
        if refused := self._kafka.refusal(error):
            return refused
        return await self._kafka.knock(create_conn) if self._kafka.encrypted else None

    def _note(self, refused: Refused | None) -> None:
        """Remember whether we are refused, and say it once."""
        if refused is not None and (self.refused is None or self.refused.detail != refused.detail):
            _log.error("%s", refused)
        self.refused = refused

    async def _stop(self, producer: AIOKafkaProducer | None) -> None:
        if producer is not None:
            # A producer that cannot reach its broker would wait for ever; nothing unacknowledged was promised.
            with contextlib.suppress(*_AWAY):
                await asyncio.wait_for(producer.stop(), STOP_SECONDS)
