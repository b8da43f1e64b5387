"""Topics as the broker has them, against the contract in `plimsoll.topics`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from engine.same_log import READ, Log
from plimsoll import topics
from plimsoll.errors import PlimsollError, Unavailable
from plimsoll.transport import Heard, Kafka

_TIMEOUT_SECONDS = 3.0
"""For one answer. A worker that is told to stop meanwhile hears it afterwards, and the whole has to fit in ten."""
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What a broker says whose topics have none."""


class TopicMismatch(PlimsollError):
    """A topic is missing or has other partitions than the contract. Create or recreate it as the text says."""

    lasting = True


def describe(kafka: Kafka) -> list[dict[str, object]]:
    """Each topic of the contract: its name, cleanup policy, partitions wanted, and partitions present (0: missing).

    Raises `Unavailable` where no broker answers.
    """
    present = _partitions(Client(kafka))
    return [
        {
            "topic": topic.name,
            "cleanup": topic.cleanup,
            "partitions_wanted": topic.partitions,
            "partitions": present.get(topic.name, 0),
        }
        for topic in topics.ALL
    ]


def ensure_topics(kafka: Kafka, replication_factor: int) -> Log:
    """Create what is missing, then check the partition counts; which log it is.

    Raises `Unavailable` where no broker answers, `TopicMismatch` where a topic cannot be made to agree.
    """
    client = Client(kafka)
    present = _partitions(client)
    missing = [topic for topic in topics.ALL if topic.name not in present]
    refusals = _create(client, missing, replication_factor)
    if missing:
        present = _partitions(client)
    for topic in topics.ALL:
        count = present.get(topic.name, 0)
        if count == 0 and topic.name in refusals:
            raise TopicMismatch(f"topic {topic.name} is missing and cannot be created: {refusals[topic.name]}")
        if count not in (0, topic.partitions):
            raise TopicMismatch(
                f"topic {topic.name} has {count} partitions, not {topic.partitions}: portfolios would change their "
                "worker. Delete it and run `plimsoll topics`, which creates it again"
            )
    return Log(_metadata(client).cluster_id or "unnamed", topic_ids(client) or {})


def topic_ids(client: Client) -> dict[str, str] | None:
    """Kafka's id of each topic that is read: another one after it was made anew. None where nobody can say.

    A topic that does not exist is not among them. Raises `Unavailable`.
    """
    told = _metadata(client)
    # The embedded broker names a controller that is none of its brokers; asking that one would wait in vain. A real
    # cluster may be without one for a moment.
    if told.controller_id not in told.brokers:
        return None
    ids = {}
    for name, answer in client.describe_topics(TopicCollection(list(READ)), request_timeout=_TIMEOUT_SECONDS).items():
        with contextlib.suppress(_NoSuchTopic):
            ids[name] = str(_answer(client, answer).topic_id)
    return {name: id_ for name, id_ in ids.items() if id_ != _NO_ID}


def trimmed(client: Client, partitions: Sequence[int]) -> dict[int, int]:
    """Of these partitions of `portfolio-updates`, those whose beginning Kafka no longer holds, and what is first now.

    Compaction does not count: it keeps the newest of each key, and the log still begins at 0. Raises `Unavailable`.
    """
    # A client that has not yet heard of any broker misses the answer to its own first question for the leaders now and
    # then (some 4 of 100 times), and waits until its time is up.
    _metadata(client)
    earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topics.PORTFOLIO_UPDATES.name, each): earliest for each in partitions}
    answers = client.list_offsets(asked, request_timeout=_TIMEOUT_SECONDS)
    first = {where.partition: _answer(client, answer).offset for where, answer in answers.items()}
    return {partition: offset for partition, offset in first.items() if offset > 0}


class Client(AdminClient):
    """For questions about topics. It remembers what it heard of its connections, for the calls that wait in vain."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self._heard = Heard(kafka)
        # Connection trouble is reported by the calls below; librdkafka's own log lines would only repeat it.
        quiet: dict[str, Any] = {"log_level": 0, "socket.connection.setup.timeout.ms": 5000, "error_cb": self._heard}
        super().__init__({**kafka.librdkafka(), **quiet})

    def why(self, error: KafkaException) -> Unavailable:
        """What to raise for a call that failed so."""
        self.poll(0)
        return self._heard.why(error)


class _NoSuchTopic(Unavailable):
    """The topic that was asked about does not exist, or is so new that this broker has not heard of it."""


def _answer(client: Client, answer: Future[Any]) -> Any:  # noqa: ANN401 - the library's types are untyped
    """What the broker says. An answer never comes once its client is gone: whoever asks has to hold on to it."""
    try:
        return answer.result(timeout=2 * _TIMEOUT_SECONDS)
    except TimeoutError:
        raise Unavailable("Kafka", f"no answer at {client.kafka}") from None
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise _NoSuchTopic("Kafka", f"{error.args[0].str()} at {client.kafka}") from None
        raise client.why(error) from None


def _metadata(client: Client) -> Any:  # noqa: ANN401 - the library's types are untyped
    try:
        return client.list_topics(timeout=_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise client.why(error) from None


def _partitions(client: Client) -> dict[str, int]:
    found = _metadata(client).topics
    return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}


def _create(client: Client, missing: list[topics.Topic], replication_factor: int) -> dict[str, str]:
    """Ask for each; what the broker refused, by topic. That another process was quicker is no refusal."""
    if not missing:
        return {}
    asked = client.create_topics(
        [NewTopic(topic.name, topic.partitions, replication_factor, config=topic.config()) for topic in missing],
        operation_timeout=_TIMEOUT_SECONDS,
    )
    refusals = {}
    for name, answer in asked.items():
        try:
            answer.result(timeout=2 * _TIMEOUT_SECONDS)
        except TimeoutError:
            raise Unavailable("Kafka", f"topic {name} is not created in time at {client.kafka}") from None
        except KafkaException as error:
            code = error.args[0].code()
            if code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
                refusals[name] = (
                    "this user may not create it, or may not see it. Run `plimsoll topics` as one who may, and see "
                    "docs/SECURITY.md for the rights of each"
                )
            elif code != KafkaError.TOPIC_ALREADY_EXISTS:
                refusals[name] = error.args[0].str()
    return refusals
