"""When the system counts as healthy: decided from a sounding, without any server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.same_log import Log
from plimsoll import topics
from plimsoll.commands.soundings.crew import crew_of
from plimsoll.commands.soundings.kafka import KafkaReading, TopicReading
from plimsoll.commands.soundings.ports import Readiness
from plimsoll.commands.soundings.store import Contents, ServerReading
from plimsoll.commands.soundings.system import Sounding
from plimsoll.commands.status import problems_of
from plimsoll.errors import Unavailable
from plimsoll.messages import Heartbeat
from plimsoll.settings import Settings

AWAY = Unavailable("it", "no answer")


@pytest.fixture
def sounding(beat: Callable[..., Heartbeat], now_ns: int) -> Sounding:
    """Of a system in which everything is well."""
    there = {each.name: TopicReading(each.name, each.partitions, 1, [], []) for each in topics.ALL}
    return Sounding(
        at_ns=now_ns,
        brokers={"a:1": "cluster-a"},
        kafka=KafkaReading(Log("cluster-a"), {1: "a:1"}, there, is_embedded=False),
        dead_letters=0,
        server=ServerReading("redis", "7.0.15", False, "master", 1 << 20, 0, "noeviction", "none", 0.0, 0.001),
        refused=None,
        contents=Contents([beat()], [], "set-1", True, 10, 3, None),
        crew=crew_of([beat()], now_ns, 15),
        workers={0: Readiness(True, [])},
        api=None,
    )


def checks(sounding: Sounding) -> list[str]:
    return [each.check for each in problems_of(sounding, Settings())]


def test_where_all_is_well_there_is_no_problem(sounding: Sounding) -> None:
    assert checks(sounding) == []


def test_dead_letters_are_worth_a_look_and_make_nothing_unhealthy(sounding: Sounding) -> None:
    assert checks(replace(sounding, dead_letters=7)) == []


def test_an_engine_that_catches_up_is_not_healthy_yet(
    sounding: Sounding, beat: Callable[..., Heartbeat], now_ns: int
) -> None:
    assert checks(replace(sounding, crew=crew_of([beat(state="catching-up")], now_ns, 15))) == ["engine"]


def test_each_part_that_is_away_is_a_problem_of_its_own(sounding: Sounding) -> None:
    assert checks(replace(sounding, brokers={"a:1": AWAY}, kafka=AWAY, dead_letters=AWAY)) == ["broker a:1"]
    assert checks(replace(sounding, server=AWAY, contents=AWAY, crew=None, workers={})) == ["redis", "engine"]
    assert checks(replace(sounding, api=AWAY)) == ["api"]
    assert checks(replace(sounding, api=Readiness(True, ["kafka: no broker answers"]))) == []
    assert checks(replace(sounding, workers={0: Readiness(False, ["Kafka: away"])})) == ["worker 0"]
