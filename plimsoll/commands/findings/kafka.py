"""Kafka judged: its brokers, and the five topics against their contract in `plimsoll.topics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plimsoll import topics
from plimsoll.commands.findings import Finding, fault, reason_of, refusal, warning, well
from plimsoll.commands.soundings.kafka import KafkaReading, TopicReading
from plimsoll.errors import PlimsollError, Refused
from plimsoll.messages import RECORD_SIZE_MAX
from plimsoll.settings import Settings
from plimsoll.topics import Topic

REPLICAS_ENOUGH = 3
"""With three, one broker may be lost while another is restarted."""
RETENTION_HOURS_LEAST = {topics.RISK_UPDATES.name: 1, topics.DEAD_LETTERS.name: 24}
"""Who reads them has to get round to it: consumers that were down, and people."""
_RECORD_OVERHEAD = 512
"""Bytes that key, headers and batch add to a value."""
_MS_PER_HOUR = 3_600_000


def judge_brokers(answers: Mapping[str, str | PlimsollError]) -> Iterator[Finding]:
    """Each address of KAFKA_BROKERS: one that is silent is a fault, unless another answers in its place."""
    clusters = {answer for answer in answers.values() if isinstance(answer, str)}
    for address, answer in answers.items():
        check = f"broker {address}"
        if isinstance(answer, str):
            yield well(check, f"answers for cluster {answer}")
        elif clusters:
            said = f"away ({reason_of(answer)}), and another answers"
            yield warning(check, said, "start it, or take it out of KAFKA_BROKERS")
        elif isinstance(answer, Refused):
            yield refusal(check, answer)
        else:
            yield fault(
                check,
                f"away: {reason_of(answer)}",
                f"start the broker at {address} (`docker compose up --detach kafka`), or name the right one: "
                "`export KAFKA_BROKERS=host:port`",
            )
    if len(clusters) > 1:
        yield fault(
            "one cluster",
            f"KAFKA_BROKERS names brokers of {len(clusters)} clusters: {', '.join(sorted(clusters))}",
            "name brokers of one of them in KAFKA_BROKERS",
        )


def judge_topics(reading: KafkaReading, settings: Settings) -> Iterator[Finding]:
    """The topics as they are there, and whether those that are missing could be made."""
    for topic in topics.ALL:
        found = reading.topics.get(topic.name)
        yield _missing(topic) if found is None else _judge_topic(topic, found, reading, settings)
    if reading.untold:
        yield warning(
            "topic settings",
            f"Kafka does not tell them: {reading.untold}",
            "give this user the right DescribeConfigs on the topics, or look at them with kafka-configs.sh --describe",
        )
    if settings.replication_factor > len(reading.brokers):
        yield warning(
            "replication",
            f"{settings.replication_factor} replicas are wanted of a topic that has to be created, and "
            f"{len(reading.brokers)} brokers are up: it would be refused",
            f"start the other brokers, or `export PLIMSOLL_REPLICATION_FACTOR={len(reading.brokers)}`",
        )
    if reading.is_embedded:
        yield well("retention", "this is the embedded broker: for demos, and nothing is kept")


def _missing(topic: Topic) -> Finding:
    return fault(f"topic {topic.name}", "missing", "`uv run plimsoll topics` creates it")


def _judge_topic(topic: Topic, found: TopicReading, reading: KafkaReading, settings: Settings) -> Finding:
    """The worst that can be said of a topic; or that it is as it should be."""
    check, brokers = f"topic {topic.name}", settings.kafka_brokers
    if found.partitions != topic.partitions:
        return fault(
            check,
            f"{found.partitions} partitions, not {topic.partitions}: portfolios would change their worker",
            f"stop the engine, `kafka-topics.sh --bootstrap-server {brokers} --delete --topic {topic.name}`, then "
            "`uv run plimsoll topics`; what was in it has to be sent again",
        )
    if found.leaderless:
        partitions = ", ".join(map(str, found.leaderless))
        return fault(check, f"nobody serves partition {partitions}", "start the brokers that hold its replicas")
    if found.config is not None and (wrong := _judge_config(topic, found, found.config, brokers)) is not None:
        return wrong
    if found.out_of_step:
        partitions = ", ".join(map(str, found.out_of_step))
        return warning(check, f"replicas of partition {partitions} are not in step", "start or mend the other brokers")
    enough = min(REPLICAS_ENOUGH, len(reading.brokers))
    if found.replicas < enough:
        return warning(
            check,
            f"{found.replicas} replica on {len(reading.brokers)} brokers: it is lost with one of them",
            f"`export PLIMSOLL_REPLICATION_FACTOR={enough}` before `uv run plimsoll topics`; one that exists is given "
            "more by kafka-reassign-partitions.sh",
        )
    policy = topic.cleanup if found.config is None else found.config.get("cleanup.policy", "?")
    told = "" if found.config is None else f", cleanup {policy}"
    return well(check, f"{found.partitions} partitions, replicas {found.replicas}{told}")


def _judge_config(topic: Topic, found: TopicReading, config: Mapping[str, str], brokers: str) -> Finding | None:
    """What is wrong with a topic's settings; None where nothing is."""
    check = f"topic {topic.name}"
    policies = set(config.get("cleanup.policy", topic.cleanup).split(","))
    if policies != {topic.cleanup}:
        harm = (
            "what nobody states again in time is forgotten, and a rebuild lacks it"
            if topic.cleanup == "compact"
            else "it would keep the newest of each key for ever, and forget the others"
        )
        said = f"cleanup.policy is {','.join(sorted(policies))}, not {topic.cleanup}: {harm}"
        return fault(check, said, _alter(topic, f"cleanup.policy={topic.cleanup}", brokers))
    size = int(config.get("max.message.bytes", RECORD_SIZE_MAX + _RECORD_OVERHEAD))
    if topic.cleanup == "compact" and size < RECORD_SIZE_MAX + _RECORD_OVERHEAD:
        said = f"max.message.bytes is {size:,}, and records of {RECORD_SIZE_MAX:,} bytes are taken"
        return warning(check, said, _alter(topic, f"max.message.bytes={RECORD_SIZE_MAX + _RECORD_OVERHEAD}", brokers))
    if (least := int(config.get("min.insync.replicas", 1))) > found.replicas:
        return fault(
            check,
            f"min.insync.replicas is {least} and there are {found.replicas} replicas: every write is refused",
            _alter(topic, f"min.insync.replicas={found.replicas}", brokers),
        )
    return _judge_retention(topic, config, brokers)


def _judge_retention(topic: Topic, config: Mapping[str, str], brokers: str) -> Finding | None:
    if (least := RETENTION_HOURS_LEAST.get(topic.name)) is None:
        return None
    check = f"topic {topic.name}"
    kept_ms, kept_bytes = int(config.get("retention.ms", -1)), int(config.get("retention.bytes", -1))
    if kept_ms < 0 and kept_bytes < 0:
        return warning(
            check,
            "nothing is ever dropped from it: it fills the disk",
            _alter(topic, f"retention.ms={7 * 24 * _MS_PER_HOUR}", brokers),
        )
    if 0 <= kept_ms < least * _MS_PER_HOUR:
        return warning(
            check,
            f"records are dropped after {kept_ms / _MS_PER_HOUR:.2g} h, before they are sure to be read",
            _alter(topic, f"retention.ms={least * _MS_PER_HOUR}", brokers),
        )
    return None


def _alter(topic: Topic, config: str, brokers: str) -> str:
    return (
        f"`kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {topic.name} "
        f"--add-config {config}`"
    )
