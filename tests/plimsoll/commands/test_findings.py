"""Readings judged: for each fault its name and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.manifest import Keeper, Manifest
from engine.same_log import Log
from plimsoll import topics
from plimsoll.commands.doctor import readable
from plimsoll.commands.findings import Finding, Verdict
from plimsoll.commands.findings.engine import judge_contents, judge_crew, judge_workers
from plimsoll.commands.findings.kafka import judge_brokers, judge_topics
from plimsoll.commands.findings.machine import judge_machine, judge_ports, judge_recovery, judge_settings
from plimsoll.commands.findings.store import judge_rights, judge_server
from plimsoll.commands.soundings.crew import crew_of
from plimsoll.commands.soundings.kafka import KafkaReading, TopicReading
from plimsoll.commands.soundings.machine import MachineReading, read_recovery
from plimsoll.commands.soundings.ports import Readiness
from plimsoll.commands.soundings.store import Contents, ServerReading, redis_cli
from plimsoll.errors import BadSetting, Refused, Unavailable
from plimsoll.messages import Heartbeat, encode
from plimsoll.settings import Settings

Beat = Callable[..., Heartbeat]
SETTINGS = Settings()
AWAY = Unavailable("Kafka", "no answer")
LOG = Log("cluster-a", {"market-data": "id-1"})


def only(findings: Any, verdict: Verdict | str) -> Finding:
    """The one finding of this verdict; none of a worse one."""
    found = list(findings)
    chosen = [each for each in found if each.verdict == verdict]
    assert len(chosen) == 1, found
    assert verdict == "fault" or not [each for each in found if each.verdict == "fault"], found
    return chosen[0]


def all_well(findings: Any) -> None:
    assert not [each for each in findings if each.verdict != "ok" or each.remedy]


# --- Kafka ------------------------------------------------------------------------------------------------------------


def kafka(**topic: Any) -> KafkaReading:
    """Three brokers with every topic as it should be; `topic` replaces fields of `risk-updates`."""
    found = {
        each.name: TopicReading(each.name, each.partitions, 3, [], [], {"cleanup.policy": each.cleanup, **KEPT})
        for each in topics.ALL
    }
    found["risk-updates"] = replace(found["risk-updates"], **topic)
    return KafkaReading(LOG, {1: "a:1", 2: "b:1", 3: "c:1"}, found, is_embedded=False)


KEPT = {"retention.ms": "604800000", "retention.bytes": "-1", "min.insync.replicas": "2"}
DELETED = {"cleanup.policy": "delete", **KEPT}


def test_a_cluster_as_it_should_be_has_no_fault() -> None:
    all_well(judge_brokers({"a:1": "cluster-a", "b:1": "cluster-a"}))
    all_well(judge_topics(kafka(), SETTINGS))


def test_one_silent_broker_is_a_warning_and_all_of_them_faults() -> None:
    assert only(judge_brokers({"a:1": "cluster-a", "b:1": AWAY}), "warning").check == "broker b:1"
    found = list(judge_brokers({"a:1": AWAY, "b:1": AWAY}))
    assert [each.verdict for each in found] == ["fault", "fault"]
    assert all("KAFKA_BROKERS" in each.remedy for each in found)


def test_a_broker_that_does_not_let_us_in_is_not_to_be_started() -> None:
    refused = Refused("Kafka", "our sign-in is not taken", "at a:1 as 'engine' by PLAIN (no): correct the password")
    finding = only(judge_brokers({"a:1": refused}), "fault")
    assert "our sign-in is not taken" in finding.found
    assert finding.remedy == "correct the password"


def test_brokers_of_two_clusters_are_a_fault() -> None:
    assert only(judge_brokers({"a:1": "cluster-a", "b:1": "cluster-b"}), "fault").check == "one cluster"


@pytest.mark.parametrize(
    ("spoilt", "verdict", "found", "remedy"),
    [
        ({"partitions": 6}, "fault", "6 partitions, not 12", "uv run plimsoll topics"),
        ({"leaderless": [3, 4]}, "fault", "nobody serves partition 3, 4", "start the brokers"),
        ({"out_of_step": [3]}, "warning", "not in step", "brokers"),
        ({"replicas": 1, "config": None}, "warning", "1 replica on 3 brokers", "PLIMSOLL_REPLICATION_FACTOR=3"),
        ({"config": {**DELETED, "min.insync.replicas": "4"}}, "fault", "every write is refused", "insync.replicas=3"),
        ({"config": {**DELETED, "cleanup.policy": "compact"}}, "fault", "not delete", "cleanup.policy=delete"),
        ({"config": {**DELETED, "retention.ms": "-1"}}, "warning", "fills the disk", "retention.ms=604800000"),
        ({"config": {**DELETED, "retention.ms": "60000"}}, "warning", "dropped after 0.017 h", "retention.ms=3600000"),
    ],
)
def test_a_topic_that_is_not_as_agreed_is_named_with_its_remedy(
    spoilt: dict[str, Any], verdict: str, found: str, remedy: str
) -> None:
    finding = only(judge_topics(kafka(**spoilt), SETTINGS), verdict)
    assert finding.check == "topic risk-updates"
    assert found in finding.found
    assert remedy in finding.remedy


def test_a_compacted_topic_that_also_forgets_is_a_fault() -> None:
    reading = kafka()
    config = {**DELETED, "cleanup.policy": "compact,delete"}
    reading.topics["portfolio-updates"] = replace(reading.topics["portfolio-updates"], config=config)
    finding = only(judge_topics(reading, SETTINGS), "fault")
    assert "cleanup.policy is compact,delete, not compact" in finding.found
    assert "--entity-name portfolio-updates --add-config cleanup.policy=compact`" in finding.remedy


def test_more_replicas_than_brokers_could_not_be_made() -> None:
    finding = only(judge_topics(kafka(), replace(SETTINGS, replication_factor=5)), "warning")
    assert "PLIMSOLL_REPLICATION_FACTOR=3" in finding.remedy


# --- Redis ------------------------------------------------------------------------------------------------------------

SERVER = ServerReading("redis", "7.0.15", False, "master", 10 << 20, 0, "noeviction", "none", 0.001, 0.002)


def test_a_server_as_it_should_be_has_no_fault() -> None:
    all_well(judge_server(SERVER, "here:6379"))
    all_well(judge_server(replace(SERVER, name="valkey", version="8.1.4", memory_max=1 << 30), "here:6379"))
    all_well([judge_rights([])])


@pytest.mark.parametrize(
    ("spoilt", "verdict", "check", "remedy"),
    [
        ({"policy": "allkeys-lru"}, "fault", "redis eviction", "`redis-cli CONFIG SET maxmemory-policy noeviction`"),
        ({"version": "6.0.16"}, "fault", "redis version", "install Redis 7"),
        ({"is_cluster": True}, "fault", "redis kind", "REDIS_URL"),
        ({"role": "slave"}, "fault", "redis kind", "its primary in REDIS_URL"),
        ({"memory_max": 12 << 20}, "warning", "redis memory", "CONFIG SET maxmemory 24mb"),
        ({"memory_max": 10 << 20}, "fault", "redis memory", "CONFIG SET maxmemory 20mb"),
        ({"memory_max": 1 << 19}, "fault", "redis memory", "CONFIG SET maxmemory 20mb"),
        ({"persistence": "RDB file, but the last write failed"}, "warning", "redis persistence", "make room"),
        ({"clock_ahead_seconds": -40.0}, "warning", "clock", "timedatectl"),
    ],
)
def test_a_server_that_will_not_do_is_named_with_its_remedy(
    spoilt: dict[str, Any], verdict: str, check: str, remedy: str
) -> None:
    finding = only(judge_server(replace(SERVER, **spoilt), "here:6379"), verdict)
    assert finding.check == check
    assert remedy in finding.remedy


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("redis://127.0.0.1:6379/0", "redis-cli"),
        ("redis://plimsoll:secret@cache.internal/3", "redis-cli -h cache.internal -n 3"),
        ("rediss://:secret@10.0.0.7:6380", "redis-cli -h 10.0.0.7 -p 6380 --tls"),
        ("unix:///run/a redis.sock?db=2", "redis-cli -s '/run/a redis.sock' -n 2"),
    ],
)
def test_a_remedy_reaches_the_redis_that_is_meant(url: str, called: str) -> None:
    assert redis_cli(url) == called


def test_a_slow_answer_is_no_wrong_clock() -> None:
    all_well(judge_server(replace(SERVER, clock_ahead_seconds=2.5, round_trip_seconds=1.9), "here:6379"))


def test_what_the_user_may_not_do_is_named() -> None:
    finding = judge_rights(["PUBLISH (the user may not)", "SET (its memory is full)"])
    assert "PUBLISH (the user may not)" in finding.found
    assert "ACL SETUSER" in finding.remedy


def test_nobody_is_given_rights_where_the_server_refuses_everybody() -> None:
    assert "ACL" not in judge_rights(["SET (its memory is full)", "HDEL (MISCONF it cannot be saved)"]).remedy


# --- the engine -------------------------------------------------------------------------------------------------------


def test_an_engine_as_it_should_be_has_no_fault(beat: Beat, now_ns: int) -> None:
    crew = crew_of([beat(0, 2), beat(1, 2)], now_ns, 15)
    all_well(judge_crew(crew, now_ns))
    all_well(judge_workers({0: Readiness(True, [])}))
    all_well(judge_contents(Contents(crew.beats, [], "set-1", True, 1, 0, encode(LOG)), crew, LOG))


def test_an_engine_that_is_gone_suspended_or_in_part_missing_is_a_fault(beat: Beat, now_ns: int) -> None:
    def finding(*beats: Heartbeat) -> Finding:
        return only(judge_crew(crew_of(beats, now_ns, 15), now_ns), "fault")

    assert "no heartbeat" in finding().found
    assert "uv run risk-calculator" in finding().remedy
    silent = finding(beat(age=61))
    assert "silent for 61 s: it is dead, suspended, or cannot reach Redis" in silent.found
    assert "kill -CONT" in silent.remedy
    assert "it was stopped 61 s ago" in finding(beat(age=61, state="draining")).found
    missing = finding(beat(0, 4), beat(1, 4, age=61))
    assert missing.found == "3 of 4 workers are missing (silent: worker 1 for 61 s; never heard: worker 2, 3)"
    assert "--workers 4 --worker-index 1" in missing.remedy


def test_two_engines_of_other_numbers_of_workers_are_a_fault(beat: Beat, now_ns: int) -> None:
    crew = crew_of([beat(0, 1), beat(0, 2), beat(1, 2, age=0.1)], now_ns, 15)
    assert "engines of 1 and 2 workers" in only(judge_crew(crew, now_ns), "fault").found


def test_another_version_a_clock_ahead_and_catching_up_are_warnings(beat: Beat, now_ns: int) -> None:
    def finding(**stated: Any) -> Finding:
        return only(judge_crew(crew_of([beat(**stated)], now_ns, 15), now_ns), "warning")

    assert finding(version="9.9").check == "engine version"
    assert "an older version" in finding(version=None).found
    assert "30.0 s in our future" in finding(age=-30.0).found
    assert "catching-up" in finding(state="catching-up").found


def test_a_worker_that_is_not_ready_says_why() -> None:
    finding = only(judge_workers({3: Readiness(False, ["Kafka: away", "lag: 200000 records behind"])}), "fault")
    assert (finding.check, finding.found) == ("worker 3", "not ready: Kafka: away; lag: 200000 records behind")


@pytest.mark.parametrize(
    ("spoilt", "check", "found", "remedy"),
    [
        ({"scenario_set_id": None, "has_scenario_set": False}, "scenario set", "missing", "uv run data-generator"),
        ({"has_scenario_set": False}, "scenario set", "set-1 is named as the current one", "restart the engine"),
        ({"unreadable": ["0/1"]}, "heartbeats", "those of 0/1 cannot be read", "the engine's own installation"),
        ({"log": b'{"cluster":"cluster-b"}'}, "log", "cluster-b", "REDIS_URL"),
        ({"log": encode(Log("cluster-a", {"market-data": "id-2"}))}, "log", "made anew", "FLUSHDB"),
        ({"log": b"\x00"}, "log", "cannot be read", "FLUSHDB"),
    ],
)
def test_what_is_wrong_in_redis_is_named_with_its_remedy(
    beat: Beat, now_ns: int, spoilt: dict[str, Any], check: str, found: str, remedy: str
) -> None:
    crew = crew_of([beat()], now_ns, 15)
    contents = replace(Contents(crew.beats, [], "set-1", True, 1, 0, encode(LOG)), **spoilt)
    finding = only(judge_contents(contents, crew, LOG), "fault")
    assert finding.check == check
    assert found in finding.found
    assert remedy in finding.remedy


def test_a_worker_with_another_scenario_set_is_a_warning(beat: Beat, now_ns: int) -> None:
    crew = crew_of([beat(0, 2), beat(1, 2, scenario_set_id="set-0")], now_ns, 15)
    contents = Contents(crew.beats, [], "set-1", True, 1, 0, None)
    assert "set-0" in only(judge_contents(contents, crew, None), "warning").found


# --- this machine -----------------------------------------------------------------------------------------------------

MACHINE = MachineReading({"Python": "3.11.7", "bytewax": "0.21.1"}, 65_536, True, [])


def test_a_machine_as_it_should_be_has_no_fault() -> None:
    all_well(judge_machine(MACHINE, SETTINGS))
    all_well(judge_settings([]))
    all_well([judge_ports(MACHINE, range(9464, 9466), None, SETTINGS), judge_ports(MACHINE, [], None, SETTINGS)])


@pytest.mark.parametrize(
    ("spoilt", "verdict", "check", "remedy"),
    [
        ({"descriptors": 1024}, "warning", "open files", "PLIMSOLL_SOCKETS=768"),
        ({"has_pages": False}, "warning", "web pages", "uv sync"),
        ({"versions": {"bytewax": None}}, "fault", "versions", "uv sync"),
    ],
)
def test_a_machine_that_lacks_something_is_told_what(
    spoilt: dict[str, Any], verdict: str, check: str, remedy: str
) -> None:
    finding = only(judge_machine(replace(MACHINE, **spoilt), SETTINGS), verdict)
    assert finding.check == check
    assert remedy in finding.remedy


def test_a_health_port_is_ours_or_somebody_elses(beat: Beat, now_ns: int) -> None:
    taken = replace(MACHINE, taken=[9464])
    ours = crew_of([beat(health="127.0.0.1:9464")], now_ns, 15)
    all_well([judge_ports(taken, [9464], ours, SETTINGS)])
    finding = judge_ports(taken, [9464], crew_of([beat()], now_ns, 15), SETTINGS)
    assert "PLIMSOLL_HEALTH_PORT=9564" in finding.remedy


def test_every_bad_setting_is_named_and_the_others_are_used(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PLIMSOLL_NO_SUCH=1\n")
    environ = {"KAFKA_BROKERS": "nowhere", "REDIS_URL": "redis://:secret@host:x/0", "PLIMSOLL_WINDOW_MS": "100"}
    settings, refused = readable(environ, dotenv)
    assert settings.window_ms == 100
    assert [each.key for each in refused] == ["PLIMSOLL_NO_SUCH", "KAFKA_BROKERS", "REDIS_URL"]
    assert "secret" not in str([*judge_settings(refused)])


def test_a_bad_line_of_a_file_keeps_no_other_line_from_being_used(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "KAFKA_BROKERS=kafka:1\nPLIMSOLL_WINDOW=5\nno setting\nLOG_LEVEL=loud\nREDIS_URL=redis://redis/3\n"
    )
    settings, refused = readable({}, dotenv)
    assert [each.key for each in refused] == ["PLIMSOLL_WINDOW", ".env line 3", "LOG_LEVEL"]
    assert (settings.kafka_brokers, settings.redis_url) == ("kafka:1", "redis://redis/3")


def test_settings_of_which_one_is_wanting_or_in_a_bad_file_come_to_an_end(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("short")
    environ = {
        "PLIMSOLL_KAFKA_SECURITY": "SASL_SSL",
        "PLIMSOLL_TOKEN_SECRET_FILE": str(secret),
        "KAFKA_BROKERS": "kafka:1",
    }
    settings, refused = readable(environ, None)
    assert [each.key for each in refused] == ["PLIMSOLL_TOKEN_SECRET", "PLIMSOLL_KAFKA_USERNAME"]
    assert (settings.kafka_brokers, settings.kafka_security) == ("kafka:1", "PLAINTEXT")


def test_a_setting_that_cannot_be_read_is_a_fault() -> None:
    finding = only(judge_settings([BadSetting("KAFKA_BROKERS", "'nowhere' is not host:port")]), "fault")
    assert (finding.check, finding.found) == ("setting KAFKA_BROKERS", "'nowhere' is not host:port")


def recovery(directory: Path, manifest: Manifest, workers: int = 1) -> Path:
    folder = directory / f"worker-0-of-{workers}"
    folder.mkdir(parents=True)
    Keeper(folder, f"0/{workers}").write(manifest)
    (folder / "part-0.sqlite3").write_bytes(b"state")
    return directory


def good_manifest(**stated: Any) -> Manifest:
    from engine.ledger import STATE_FORMAT

    return Manifest(**{"format": STATE_FORMAT, "worker": "0/1", "cluster": "cluster-a", "committed": True, **stated})


def test_a_recovery_directory_that_may_be_continued_is_well(tmp_path: Path, beat: Beat, now_ns: int) -> None:
    where = recovery(tmp_path / "recovery", good_manifest())
    for log in (LOG, None):
        reading = replace(read_recovery(where, log), free_bytes=1 << 40)
        all_well(judge_recovery(reading, crew_of([beat()], now_ns, 15)))


@pytest.mark.parametrize(
    ("stated", "found"),
    [({"cluster": "cluster-b"}, "continues another log"), ({"format": 0}, "format 0"), ({"worker": "1/2"}, "1/2")],
)
def test_a_recovery_state_that_would_be_refused_is_a_fault(tmp_path: Path, stated: dict[str, Any], found: str) -> None:
    where = recovery(tmp_path / "recovery", good_manifest(**stated))
    finding = only(judge_recovery(read_recovery(where, LOG), None), "fault")
    assert finding.check == "recovery worker-0-of-1"
    assert found in finding.found
    assert f"--workers 1 --recovery-directory {where} --rebuild" in finding.remedy


def test_a_recovery_directory_of_another_crew_a_missing_one_and_a_file_are_named(
    tmp_path: Path, beat: Beat, now_ns: int
) -> None:
    where = recovery(tmp_path / "recovery", good_manifest())
    crew = crew_of([beat(0, 2), beat(1, 2)], now_ns, 15)
    assert (
        "state is of --workers 1, and 2 run" in only(judge_recovery(read_recovery(where, LOG), crew), "warning").found
    )
    missing = only(judge_recovery(read_recovery(tmp_path / "none", LOG), None), "warning")
    assert "does not exist" in missing.found
    (tmp_path / "file").touch()
    assert "cannot be written to" in only(judge_recovery(read_recovery(tmp_path / "file", LOG), None), "fault").found


def test_a_full_disk_is_a_fault(tmp_path: Path) -> None:
    reading = replace(read_recovery(tmp_path, LOG), free_bytes=1 << 19)
    assert "make room" in only(judge_recovery(reading, None), "fault").remedy
