"""Topics as the broker has them, against the contract in `plimsoll.topics`."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from plimsoll import topics
from plimsoll.errors import PlimsollError, Unavailable

_TIMEOUT_SECONDS = 10.0


class TopicMismatch(PlimsollError):
    """A topic is missing or has other partitions than the contract. Create or recreate it as the text says."""


def describe(brokers: str) -> list[dict[str, object]]:
    """Each topic of the contract: its name, cleanup policy, partitions wanted, and partitions present (0: missing).

    Raises `Unavailable` where no broker answers.
    """
    present = _partitions(_client(brokers), brokers)
    return [
        {
            "topic": topic.name,
            "cleanup": topic.cleanup,
            "partitions_wanted": topic.partitions,
            "partitions": present.get(topic.name, 0),
        }
        for topic in topics.ALL
    ]


def ensure_topics(brokers: str, replication_factor: int) -> str:
    """Create what is missing, then check the partition counts; the id of the cluster.

    Raises `Unavailable` where no broker answers, `TopicMismatch` where a topic cannot be made to agree.
    """
    client = _client(brokers)
    present = _partitions(client, brokers)
    missing = [topic for topic in topics.ALL if topic.name not in present]
    refusals = _create(client, missing, replication_factor)
    if missing:
        present = _partitions(client, brokers)
    for topic in topics.ALL:
        count = present.get(topic.name, 0)
        if count == 0 and topic.name in refusals:
            raise TopicMismatch(f"topic {topic.name} is missing and cannot be created: {refusals[topic.name]}")
        if count not in (0, topic.partitions):
            raise TopicMismatch(
                f"topic {topic.name} has {count} partitions, not {topic.partitions}: portfolios would change their "
                "worker. Delete it and run `plimsoll topics`, which creates it again"
            )
    return _cluster_id(client)


def _client(brokers: str) -> AdminClient:
    # Connection trouble is reported by the calls below; librdkafka's own log lines would only repeat it.
    return AdminClient({"bootstrap.servers": brokers, "log_level": 0, "socket.connection.setup.timeout.ms": 5000})


def _cluster_id(client: AdminClient) -> str:
    return client.list_topics(timeout=_TIMEOUT_SECONDS).cluster_id or "unnamed"


def _partitions(client: AdminClient, brokers: str) -> dict[str, int]:
    try:
        found = client.list_topics(timeout=_TIMEOUT_SECONDS).topics
    except KafkaException as error:
        raise Unavailable("Kafka", f"{error.args[0].str()} at {brokers} (set KAFKA_BROKERS)") from None
    return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}


def _create(client: AdminClient, missing: list[topics.Topic], replication_factor: int) -> dict[str, str]:
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
            answer.result(timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                refusals[name] = error.args[0].str()
    return refusals
