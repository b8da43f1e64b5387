"""Kafka away at the start and midway, its log trimmed, its topic created anew: nothing is skipped in silence."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic
from kill_storm import storm
from load import Plan, Sender
from rig import REFUSED, Rig, next_offsets

from embedded.broker import EmbeddedBroker
from plimsoll import topics

AWAY_SECONDS = 4.0
REFUSES_SECONDS = 40.0
"""To notice a topic that is another one: it is looked for every ten seconds."""


def test_kafka_away_at_the_start_is_waited_for(rig: Rig, embedded_broker: EmbeddedBroker) -> None:
    rig.opened()
    rig.watch()
    embedded_broker.down()
    engine = rig.engine()
    rig.until(lambda: "waiting for Kafka" in engine.log(), "word that Kafka is away", 30.0)
    assert engine.child.exit_code() is None
    embedded_broker.up()
    rig.running(engine)
    rig.holds()


def test_kafka_away_midway_loses_nothing(rig: Rig, embedded_broker: EmbeddedBroker) -> None:
    sender = rig.opened(Plan(rig.seed, rate=800.0, poison_share=0.02))
    rig.watch()
    engine = rig.engine()
    rig.running(engine)
    sender.start()
    for _ in range(2):
        rig.publishes()
        embedded_broker.down()
        taken = sender.sent.total
        time.sleep(AWAY_SECONDS / 2)
        assert sender.sent.total - taken < 1_500, "the broker went on taking records"
        embedded_broker.up()
        rig.until(lambda taken=taken: sender.sent.total > taken + 1_500, "more records taken")  # type: ignore[misc]
    sender.stop()
    rig.holds()
    assert engine.log().count("worker 0 started") == 1, rig.logs()


# --- a real one: only it trims and recreates as the world does -------------------------------------------------------


@pytest.mark.kafka
def test_a_log_that_was_trimmed_past_us_is_refused_by_its_offset(real_rig: Rig) -> None:
    rig = real_rig
    sender = rig.opened()
    engine = rig.engine()
    rig.running(engine)
    rig.holds()
    assert engine.stopped()[0] == 0
    sender.run(1.0)
    sender.settle()
    trim(rig, topics.PORTFOLIO_UPDATES)
    before = rig.store.client.get("risk:portfolio-1")

    engine = rig.engine()
    assert engine.ended(REFUSES_SECONDS) == REFUSED, rig.logs()
    assert "portfolio-updates [" in engine.log(), engine.log()
    assert "offset" in engine.log()
    assert rig.store.client.get("risk:portfolio-1") == before, "it went on, and wrote"

    # Nor may it start from nothing: what is gone from the log would stand in Redis for ever, and never move again.
    engine = rig.engine(recovery="empty")
    assert engine.ended(REFUSES_SECONDS) == REFUSED, rig.logs()
    assert "--rebuild" in engine.log()


@pytest.mark.kafka
def test_a_topic_created_anew_is_refused(real_rig: Rig) -> None:
    rig = real_rig
    rig.opened()
    engine = rig.engine()
    rig.running(engine)
    rig.holds()
    assert engine.stopped()[0] == 0
    recreate(rig, topics.PORTFOLIO_UPDATES)
    # As many records as before and more: by its offsets alone it could pass for the old one.
    other = Sender(rig.brokers, Plan(rig.seed + 1))
    for _ in range(3):
        for made in other.stream.everything_once():
            if made.topic == topics.PORTFOLIO_UPDATES.name:
                other.send(made)
    other.settle()
    before = rig.store.client.get("risk:portfolio-1")

    engine = rig.engine()
    assert engine.ended(REFUSES_SECONDS) == REFUSED
    assert topics.PORTFOLIO_UPDATES.name in engine.log()
    assert rig.store.client.get("risk:portfolio-1") == before, "it went on, and wrote"


@pytest.mark.kafka
def test_a_topic_created_anew_under_a_running_engine_ends_it(real_rig: Rig) -> None:
    rig = real_rig
    rig.opened()
    engine = rig.engine()
    rig.running(engine)
    rig.holds()
    recreate(rig, topics.PORTFOLIO_UPDATES)
    assert engine.ended(REFUSES_SECONDS) == REFUSED
    assert topics.PORTFOLIO_UPDATES.name in engine.log()


@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_kills_on_a_real_kafka_lose_nothing_either(real_rig: Rig) -> None:
    rig = real_rig
    sender = rig.opened(Plan(rig.seed, rate=2_000.0, poison_share=0.01))
    rig.watch()
    sender.start()
    storm(rig, 3, random.Random(rig.seed), supervisor_every=3)
    sender.stop()
    rig.holds()


def admin(rig: Rig) -> Any:
    return AdminClient({"bootstrap.servers": rig.brokers, "log_level": 2})


def trim(rig: Rig, topic: topics.Topic) -> None:
    """Forget everything a topic holds, as a retention that was set by mistake would."""
    client = admin(rig)
    forget = ConfigResource(
        ConfigResource.Type.TOPIC,
        topic.name,
        incremental_configs=[ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)],
    )
    for changed in client.incremental_alter_configs([forget]).values():
        changed.result(20.0)
    ends = next_offsets(rig.brokers, topic)
    cut = [TopicPartition(topic.name, partition, end) for partition, end in ends.items()]
    for trimmed in client.delete_records(cut).values():
        trimmed.result(20.0)


def recreate(rig: Rig, topic: topics.Topic) -> None:
    """Delete a topic and create it again; returns when the new one is there."""
    client = admin(rig)
    client.delete_topics([topic.name], operation_timeout=20.0)[topic.name].result(20.0)

    def created() -> bool:
        asked = client.create_topics([NewTopic(topic.name, topic.partitions, config=topic.config())])
        return asked[topic.name].exception(20.0) is None

    rig.until(created, f"new {topic.name}", 20.0)
