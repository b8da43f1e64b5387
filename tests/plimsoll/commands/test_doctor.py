"""Doctor, status and top against real servers that are broken on purpose, and an engine that is suspended."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from embedded.broker import EmbeddedBroker
from embedded.store import EmbeddedStore, free_port
from engine.topics import Client
from plimsoll import keys, topics
from plimsoll.commands.doctor import examine
from plimsoll.commands.findings import Finding
from plimsoll.commands.soundings import kafka
from plimsoll.commands.soundings.ports import require_url
from plimsoll.errors import BadSetting
from plimsoll.messages import MarketClose, PortfolioUpdate, Position, encode
from plimsoll.settings import load
from plimsoll.topics import Topic
from plimsoll.transport import Kafka

COMMAND = [sys.executable, "-m", "plimsoll.cli"]


def examined(brokers: str, redis_url: str, api: str | None = None) -> dict[str, Finding]:
    """Every finding by its check; the settings are those of a process that was told of these servers alone."""
    environ = {"KAFKA_BROKERS": brokers, "REDIS_URL": redis_url, "PLIMSOLL_HEALTH_PORT": "0"}
    return {each.check: each for each in examine(load({**environ, "PLIMSOLL_STALE_SECONDS": "2"}), [], api, None)}


def run(
    brokers: str, redis_url: str, *arguments: str, directory: Path, stale_seconds: int = 60
) -> subprocess.CompletedProcess[str]:
    """The command as a shell starts it. A machine that stands still for a while makes no engine silent."""
    environ = {"KAFKA_BROKERS": brokers, "REDIS_URL": redis_url, "PLIMSOLL_STALE_SECONDS": str(stale_seconds)}
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=directory,
        env=os.environ | environ | {"TERM": "dumb"},
    )


@pytest.fixture
def deaf() -> Iterator[str]:
    """host:port where connections are taken and nothing is ever answered: a server that hangs."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


# --- broken on purpose ------------------------------------------------------------------------------------------------


def test_a_broker_that_is_down_is_named_and_redis_is_looked_at_all_the_same(
    embedded_broker: EmbeddedBroker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 1.0)
    embedded_broker.down()
    found = examined(embedded_broker.address, redis_url)
    broker = found[f"broker {embedded_broker.address}"]
    assert broker.verdict == "fault"
    assert "export KAFKA_BROKERS=" in broker.remedy
    assert found["redis eviction"].verdict == "ok"
    assert found["engine"].found.startswith("no heartbeat")


def test_a_missing_topic_and_one_of_other_partitions_are_named(redis_url: str) -> None:
    there = [Topic(topics.MARKET_DATA.name, 7, "compact"), *topics.ALL[2:]]
    with EmbeddedBroker.start(there) as broker:
        found = examined(broker.address, redis_url)
    assert (found["topic portfolio-updates"].verdict, found["topic portfolio-updates"].found) == ("fault", "missing")
    assert "`uv run plimsoll topics`" in found["topic portfolio-updates"].remedy
    assert found["topic market-data"].found.startswith("7 partitions, not 3")
    assert "--delete --topic market-data" in found["topic market-data"].remedy
    assert found["topic market-closes"].verdict == "ok"


def test_a_redis_that_evicts_is_named_and_so_is_what_its_user_may_not(broker_address: str) -> None:
    with EmbeddedStore.start() as store, redis.Redis.from_url(store.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@read", "+@fast"])
        client.acl_setuser("reader", enabled=True, commands=["+info", "+config|get", "-publish"])
        found = examined(broker_address, store.url.replace("redis://", "redis://reader:secret@"))
        assert found["redis eviction"].verdict == "fault"
        port = client.get_connection_kwargs()["port"]
        remedy = f"`redis-cli -p {port} CONFIG SET maxmemory-policy noeviction`"
        assert found["redis eviction"].remedy.startswith(remedy)
        assert found["redis rights"].verdict == "fault"
        assert "EVAL (the user may not)" in found["redis rights"].found
        assert "PUBLISH (the user may not)" in found["redis rights"].found
        assert client.dbsize() == 0  # looking left nothing behind
        wrong = examined(broker_address, store.url.replace("redis://", "redis://reader:wrong@"))
    assert "our sign-in is not taken" in wrong["redis"].found
    assert wrong["redis"].remedy == "correct the name and the password in REDIS_URL"
    assert "wrong@" not in str(wrong)


def test_what_hangs_is_left_behind(deaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 1.0)
    found = examined(deaf, f"redis://{deaf}/0", f"http://{deaf}")
    assert found[f"broker {deaf}"].verdict == "fault"
    assert "no answer" in found["redis"].found
    assert "no answer" in found["api"].found
    assert found["versions"].verdict == "ok"


def test_doctor_prints_json_and_a_fault_is_an_exit_code(broker_address: str, redis_url: str, tmp_path: Path) -> None:
    answer = run(broker_address, redis_url, "doctor", "--json", directory=tmp_path)
    assert answer.returncode == 1, answer.stderr
    told = json.loads(answer.stdout)
    faults = [each["check"] for each in told["findings"] if each["verdict"] == "fault"]
    assert faults == ["engine", "scenario set"]
    assert told["faults"] == 2
    assert all(each["remedy"] for each in told["findings"] if each["verdict"] != "ok")


def test_doctor_goes_on_without_the_settings_that_cannot_be_read(tmp_path: Path) -> None:
    answer = run("nowhere", "redis://127.0.0.1:1/0", "doctor", directory=tmp_path)
    assert answer.returncode == 1
    assert "fault   setting KAFKA_BROKERS" in answer.stdout
    assert "fault   redis " in answer.stdout
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("text", ["127.0.0.1:6066", "ftp://host", "http://", "http://a:b@host", "http://host:x"])
def test_an_address_that_is_none_is_bad_usage(text: str) -> None:
    with pytest.raises(BadSetting, match=r"--api: not of the form http://127\.0\.0\.1:6066"):
        require_url("--api", text)


@pytest.mark.kafka
def test_a_topic_of_a_real_kafka_that_forgets_is_named_and_its_letters_are_counted_by_time(
    real_broker: str, redis_url: str
) -> None:
    found = examined(real_broker, redis_url)
    assert found["topic portfolio-updates"].found == "12 partitions, replicas 1, cleanup compact"
    assert found["dead letters"].found == "none in the last hour"

    client = Producer({"bootstrap.servers": real_broker})
    for hours_ago, partition in ((0, 0), (5, 2), (0, 2)):
        written_ms = int((time.time() - 3600 * hours_ago) * 1e3)
        client.produce(topics.DEAD_LETTERS.name, b"{}", b"a/0/0", partition, timestamp=written_ms)
    assert client.flush(20) == 0
    forgets = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ResourceType.TOPIC, topics.PORTFOLIO_UPDATES.name, incremental_configs=[forgets])
    admin = Client(Kafka(real_broker))  # an answer never comes once its client is gone
    for done in admin.incremental_alter_configs([changed]).values():
        done.result(20)

    found = examined(real_broker, redis_url)
    assert found["dead letters"].found == "2 in the last hour"
    topic = found["topic portfolio-updates"]
    assert (topic.verdict, topic.found[:42]) == ("fault", "cleanup.policy is delete, not compact: wha")
    assert "--entity-name portfolio-updates --add-config cleanup.policy=compact" in topic.remedy


# --- a running engine -------------------------------------------------------------------------------------------------


def send_a_little_of_everything(address: str) -> None:
    """Seventy sessions of two symbols, and one portfolio."""
    client = Producer({"bootstrap.servers": address})
    for day in range(70):
        session = str(date(2020, 1, 1) + timedelta(days=day))
        closes = {"AAPL": 100.0 + day % 7, "SP500": 3000.0 + day % 5}
        client.produce(topics.MARKET_CLOSES.name, encode(MarketClose(session, closes)), session, 0)
    update = PortfolioUpdate(id="p-1", advisor_id="advisor-1", positions=[Position("AAPL", 10.0)])
    client.produce(topics.PORTFOLIO_UPDATES.name, encode(update), "p-1", 0)
    assert client.flush(20) == 0


def test_an_engine_is_seen_running_then_suspended_and_then_back(
    broker_address: str, redis_url: str, processes: Any, tmp_path: Path
) -> None:
    send_a_little_of_everything(broker_address)
    environ = {"KAFKA_BROKERS": broker_address, "REDIS_URL": redis_url, "PLIMSOLL_HEALTH_PORT": str(free_port())}
    engine = processes.python("-m", "engine", "--worker-index", "0", environ=environ)
    client = redis.Redis.from_url(redis_url)
    processes.wait_for(lambda: client.zcard(keys.by_risk()), "risk of p-1", 60)
    # It is ready once it has counted how far it is behind, which it does every other second.
    processes.wait_for(
        lambda: examined(broker_address, redis_url)["worker 0"].verdict == "ok", "a worker that is ready", 30
    )

    healthy = run(broker_address, redis_url, "status", directory=tmp_path)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert healthy.stdout.startswith("healthy\n")
    assert "1 portfolio," in healthy.stdout

    frame = run(broker_address, redis_url, "top", "--json", "--interval", "0.5", directory=tmp_path)
    assert frame.returncode == 0, frame.stderr
    told = json.loads(frame.stdout)
    assert (told["engine"], told["workers"], told["lag"]) == ("running", 1, 0)
    assert told["firm"]["portfolios"] == 1
    assert [each["portfolio_id"] for each in told["portfolios"]] == ["p-1"]

    os.kill(engine.pid, signal.SIGSTOP)
    try:
        processes.wait_for(
            lambda: "suspended" in examined(broker_address, redis_url)["engine"].found, "an engine found silent", 30
        )
        silent = run(broker_address, redis_url, "status", "--json", directory=tmp_path, stale_seconds=2)
        assert silent.returncode == 1
        told = json.loads(silent.stdout)
        assert (told["healthy"], told["engine"]["state"]) == (False, "silent")
        assert [each["check"] for each in told["problems"]] == ["engine"]
        assert "kill -CONT PID" in told["problems"][0]["remedy"]
    finally:
        os.kill(engine.pid, signal.SIGCONT)
    processes.wait_for(
        lambda: examined(broker_address, redis_url)["engine"].found == "running, 1 worker", "an engine that runs", 30
    )


# --- a terminal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["q", "\x03"])
def test_top_ends_by_a_key_and_leaves_the_terminal_as_it_was(redis_url: str, tmp_path: Path, end: str) -> None:
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    environ = os.environ | {"REDIS_URL": redis_url, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}
    with subprocess.Popen(
        [*COMMAND, "top", "--interval", "0.5"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=tmp_path,
        env=environ,
    ) as top:
        deadline = threading.Timer(60.0, top.kill)
        deadline.start()
        shown = b""
        while b"never seen" not in shown and top.poll() is None:
            shown += heard(keyboard)
        if end == "q":
            os.write(keyboard, b"q")
        else:
            # It is in a session without this terminal, so a key cannot send it the signal.
            top.send_signal(signal.SIGINT)
        while top.poll() is None:
            shown += heard(keyboard)
        deadline.cancel()
    shown += heard(keyboard)
    assert top.returncode == 0, shown.decode()
    assert termios.tcgetattr(terminal) == before
    os.close(terminal)
    os.close(keyboard)
    assert shown.count(b"\x1b[?1049h") == shown.count(b"\x1b[?1049l") == 1  # the screen that was there is back
    assert shown.rindex(b"\x1b[?25h") > shown.index(b"\x1b[?25l")  # and so is the cursor
    assert b"\x1b[31m" not in shown


def heard(keyboard: int) -> bytes:
    """What the other end wrote meanwhile; empty after a tenth of a second of silence."""
    ready, _, _ = select.select([keyboard], [], [], 0.1)
    return os.read(keyboard, 1 << 16) if ready else b""
