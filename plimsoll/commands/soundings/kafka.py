"""What Kafka says: which of its brokers answer, how the topics stand there, and how many records were set aside.

The embedded broker names a controller that is none of its brokers, knows no topic settings and finds no offset by time.
What it cannot say is None here, and never a guess.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from engine.dead_letters import Choice
from engine.replay import opened, read_letters
from engine.same_log import Log
from engine.topics import Client, topic_ids
from plimsoll import topics
from plimsoll.commands.soundings.clients import kafka_client
from plimsoll.commands.soundings.patience import side_by_side
from plimsoll.errors import PlimsollError, Unavailable
from plimsoll.settings import Settings
from plimsoll.transport import Kafka

ANSWER_SECONDS = 2.5
"""What Kafka gets for one answer."""


@dataclass(frozen=True, slots=True)
class TopicReading:
    """One topic as it is there."""

    name: str
    partitions: int
    replicas: int
    """Of the partition that has the fewest."""
    leaderless: list[int]
    """Partitions that nobody serves now."""
    out_of_step: list[int]
    """Partitions of which a replica is behind."""
    config: Mapping[str, str] | None = None
    """The topic's settings as Kafka spells them; None where it tells none, or was not asked."""


@dataclass(frozen=True, slots=True)
class KafkaReading:
    """The cluster as whoever answered first describes it."""

    log: Log
    """Which log: the cluster's id, and where they were asked for, the ids of the topics that are read."""
    brokers: dict[int, str]
    """Broker id to host:port, of those that are up now."""
    topics: dict[str, TopicReading]
    """Those of the contract that exist."""
    is_embedded: bool
    untold: str = ""
    """Why the topics' settings could not be read, where they were asked for and should be known."""


def each_broker(settings: Settings) -> dict[str, str | PlimsollError]:
    """For each host:port of KAFKA_BROKERS the id of the cluster it belongs to, or why it does not answer."""

    def cluster(address: str) -> str:
        return str(_metadata(kafka_client(settings, address)).cluster_id or "unnamed")

    addresses = settings.kafka_brokers.split(",")
    return side_by_side({each: partial(cluster, each) for each in addresses}, 2 * ANSWER_SECONDS)


def read(settings: Settings, *, thoroughly: bool = False) -> KafkaReading:
    """The cluster and its topics; `thoroughly` with the topics' ids and settings. Raises `Unavailable`."""
    client = kafka_client(settings)
    told = _metadata(client)
    found = {
        topic.name: _topic(topic.name, told.topics[topic.name])
        for topic in topics.ALL
        if topic.name in told.topics and told.topics[topic.name].error is None
    }
    reading = KafkaReading(
        log=Log(told.cluster_id or "unnamed"),
        brokers={each.id: f"{each.host}:{each.port}" for each in told.brokers.values()},
        topics=found,
        is_embedded=told.controller_id not in told.brokers,
    )
    return _thorough(client, reading) if thoroughly and not reading.is_embedded else reading


def dead_letters_since(settings: Settings, since_ms: int) -> int:
    """How many records were set aside since a moment in UTC milliseconds. Raises `Unavailable` or `LogMoved`."""
    client = kafka_client(settings)
    told = _metadata(client)
    name = topics.DEAD_LETTERS.name
    if told.controller_id not in told.brokers:
        # It finds no offset by time, and holds so little that all of it can be read.
        with opened(Kafka.of(settings), ANSWER_SECONDS) as log:
            choice = Choice(since_ns=since_ms * 1_000_000)
            return len(read_letters(log, choice, lambda _done, _total: None, with_raw=False).letters.chosen())
    if name not in told.topics:
        return 0
    where = [TopicPartition(name, partition) for partition in told.topics[name].partitions]
    ends = _offsets(client, where, OffsetSpec.latest())  # type: ignore[no-untyped-call]
    firsts = _offsets(client, where, OffsetSpec.for_timestamp(since_ms))
    # Where nothing is as young as that, Kafka names no offset.
    return sum(ends[partition] - first for partition, first in firsts.items() if first >= 0)


def _metadata(client: Client) -> Any:  # noqa: ANN401 - the library's types are untyped
    try:
        return client.list_topics(timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise client.why(error) from None


def _topic(name: str, told: Any) -> TopicReading:  # noqa: ANN401
    partitions = told.partitions.values()
    return TopicReading(
        name=name,
        partitions=len(partitions),
        replicas=min((len(each.replicas) for each in partitions), default=0),
        leaderless=sorted(each.id for each in partitions if each.leader < 0),
        out_of_step=sorted(each.id for each in partitions if len(each.isrs) < len(each.replicas)),
    )


def _thorough(client: Client, reading: KafkaReading) -> KafkaReading:
    """The same with the ids and settings of the topics, as far as they are told."""
    ids: Mapping[str, str] | None = None
    with contextlib.suppress(Unavailable):
        ids = topic_ids(client)
    configs: Mapping[str, Mapping[str, str]] = {}
    untold = ""
    try:
        configs = _configs(client, list(reading.topics))
    except Unavailable as error:
        untold = error.detail
    with_configs = {name: replace(topic, config=configs.get(name)) for name, topic in reading.topics.items()}
    return replace(reading, log=Log(reading.log.cluster, ids or {}), topics=with_configs, untold=untold)


def _configs(client: Client, names: Sequence[str]) -> dict[str, dict[str, str]]:
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = client.describe_configs(asked, request_timeout=ANSWER_SECONDS) if asked else {}
    entries = {resource.name: _answer(client, answer).values() for resource, answer in answers.items()}
    return {name: {each.name: each.value for each in told if each.value is not None} for name, told in entries.items()}


def _offsets(client: Client, where: Sequence[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
    answers = client.list_offsets(dict.fromkeys(where, spec), request_timeout=ANSWER_SECONDS)
    return {at.partition: _answer(client, answer).offset for at, answer in answers.items()}


def _answer(client: Client, answer: Future[Any]) -> Any:  # noqa: ANN401
    try:
        return answer.result(timeout=2 * ANSWER_SECONDS)
    except TimeoutError:
        raise Unavailable("Kafka", f"no answer within {2 * ANSWER_SECONDS:g} s") from None
    except KafkaException as error:
        raise client.why(error) from None
