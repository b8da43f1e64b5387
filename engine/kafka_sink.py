"""Windows into Kafka: `risk-updates` and `dead-letters`, every delivery checked.

Bytewax's own sink has no delivery callback: what a broker refuses vanishes and the flow ends well. Here every
refusal reports back, the epoch does not commit before each record is acknowledged, and a refusal that cannot pass ends
the worker, whose next start repeats the epoch. While Kafka is away the client keeps trying; its queue is bounded, and
when it is full the flow waits.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import KafkaError, Message, Producer
from typing_extensions import override

from engine.drain import Drain
from engine.vitals import Vitals
from engine.window import Window
from plimsoll import topics
from plimsoll.errors import PlimsollError, Unavailable
from plimsoll.messages import DeadLetter, encode
from plimsoll.transport import Heard, Kafka

log = logging.getLogger(__name__)

QUEUE_RECORDS_MAX = 50_000
QUEUE_KILOBYTES_MAX = 32_768
FLUSH_STEP_SECONDS = 0.1
AWAY_SECONDS = 2.0
"""Without an acknowledgement for so long, Kafka counts as away."""


class DeliveryFailed(PlimsollError):
    """Kafka refused one of our own records for good. Mend what the text names; the next start repeats the epoch."""


class KafkaSink(FixedPartitionedSink[Window, None]):
    """Where snapshots and dead letters are published."""

    def __init__(
        self, kafka: Kafka, name: str, drain: Drain, *, vitals: Vitals | None = None, saves: bool = True
    ) -> None:
        """`saves`: whether epochs are saved, and so wait for Kafka; without, every start is from the log."""
        self.kafka = kafka
        self.saves = saves
        self.name = name
        self.drain = drain
        self.vitals = vitals or Vitals(name)

    @override
    def list_parts(self) -> list[str]:
        return [self.name]

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> KafkaWriter:
        heard = Heard(self.kafka)
        return KafkaWriter(producer(self.kafka, heard), self.drain, self.vitals, saves=self.saves, heard=heard)

    @override
    def part_fn(self, item_key: str) -> int:
        return 0


def producer(kafka: Kafka, heard: Heard | None = None, *, reports_all: bool = False) -> Producer:
    """An idempotent producer that never gives a record up by itself; it reports refusals, or all that happened.

    `heard` is told what it says of its connections.
    """
    return Producer(
        {
            **kafka.librdkafka(),
            "error_cb": heard or Heard(kafka),
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.timeout.ms": 0,
            "queue.buffering.max.messages": QUEUE_RECORDS_MAX,
            "queue.buffering.max.kbytes": QUEUE_KILOBYTES_MAX,
            "batch.num.messages": 5_000,
            # A report of every success would cost as much again as sending it; `flush` counts them all the same.
            "delivery.report.only.error": not reports_all,
            # As other clients do it, so that a portfolio has one partition whoever writes.
            "partitioner": "murmur2_random",
            "allow.auto.create.topics": False,
            "log_level": 3,
        },
        logger=logging.getLogger("librdkafka"),
    )


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {"key": f"{letter.topic}/{letter.partition}/{letter.offset}", "value": encode(letter)}


class KafkaWriter(StatefulSinkPartition[Window, None]):
    """One producer. `snapshot` is Bytewax's last call before an epoch commits: there it waits for every delivery."""

    def __init__(
        self,
        client: Producer,
        drain: Drain,
        vitals: Vitals | None = None,
        *,
        saves: bool = True,
        heard: Heard | None = None,
    ) -> None:
        self._client = client
        self._heard = heard
        self._saves = saves
        self._drain = drain
        self._vitals = vitals or Vitals("")
        self._refused: str | None = None

    @override
    def write_batch(self, values: list[Window]) -> None:
        for window in values:
            said = [{"key": one.portfolio_id, "value": one.snapshot} for one in window.publications if not one.again]
            self._produce(topics.RISK_UPDATES.name, said)
            self._produce(topics.DEAD_LETTERS.name, [_letter(each) for each in window.dead_letters])
        self._client.poll(0)
        self._check()

    @override
    def snapshot(self) -> None:
        if not self._saves:
            return
        began = time.perf_counter()
        self._settle()
        self._vitals.epoch_took(time.perf_counter() - began)

    @override
    def close(self) -> None:
        # Never raises: Bytewax calls it while it unwinds from what went wrong, and a second failure would abort the
        # process. Whatever matters was raised by `snapshot`, which comes before.
        try:
            self._settle()
        except Exception as error:  # whatever it is, it is said
            log.warning("%d records are not in kafka, and the next start repeats them: %s", len(self._client), error)

    def _produce(self, topic: str, records: list[dict[str, Any]]) -> None:
        """Hand records to the client, however long its queue is full.

        All at once: a call for each would let go of the interpreter each time, and wait for it behind the other thread.
        """
        while records and self._client.produce_batch(topic, records, on_delivery=self._delivered) < len(records):
            records = [record for record in records if "_error" in record]
            for record in records:
                if (error := record.pop("_error")).code() != KafkaError._QUEUE_FULL:  # noqa: SLF001
                    raise DeliveryFailed(f"Kafka's client refused a record of {topic}: {error.str()}")
            self._client.poll(FLUSH_STEP_SECONDS)
            self._wait_on()

    def _settle(self) -> None:
        """Wait until Kafka has acknowledged everything. Raises where it refused something, or stays away too long."""
        began = time.monotonic()
        while unacknowledged := self._client.flush(FLUSH_STEP_SECONDS):
            self._check()
            self._wait_on()
            if time.monotonic() - began > AWAY_SECONDS:
                self._vitals.waits_for("Kafka deliveries", f"{unacknowledged} records unacknowledged")
        self._vitals.has("Kafka deliveries")
        self._check()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._refused is None:
            self._refused = f"{message.topic()}: {error.str()}"
            if self._heard is not None:
                self._heard(error)

    def _check(self) -> None:
        if self._heard is not None and self._heard.refused is not None:
            raise self._heard.refused
        if self._refused is not None:
            raise DeliveryFailed(f"Kafka refused a record of {self._refused}")

    def _wait_on(self) -> None:
        """Say that we live; give up where a stop has waited long enough."""
        self._vitals.turned()
        if self._drain.overdue:
            raise Unavailable("Kafka", f"{len(self._client)} records unacknowledged; the next start repeats them")
