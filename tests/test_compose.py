"""The containers, as far as they can be judged without Docker: what they run exists, and nobody else can reach it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from plimsoll import keys
from plimsoll.messages import Heartbeat, encode
from plimsoll.settings import documented, load

ROOT = Path(__file__).parents[1]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROGRAMS = {each.name for each in entry_points(group="console_scripts") if each.dist and each.dist.name == "plimsoll"}


def help_of(*command: str) -> str:
    """What a program of ours says to --help, unfolded."""
    program, *rest = command
    done = subprocess.run(
        [Path(sys.executable).parent / program, *rest, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"},
    )
    return done.stdout


@pytest.mark.parametrize("name", OURS)
def test_what_a_container_runs_is_a_program_of_ours_with_flags_that_it_knows(name: str) -> None:
    program, *arguments = OURS[name]["command"]
    assert program in PROGRAMS
    subcommand = [argument for argument in arguments[:1] if not argument.startswith("-")]
    told = help_of(program, *subcommand)
    for flag in (argument for argument in arguments if argument.startswith("--")):
        assert re.search(rf"{flag}\b", told), f"{program} knows no {flag}"


@pytest.mark.parametrize("name", OURS)
def test_what_a_container_is_told_is_a_setting(name: str) -> None:
    told = OURS[name]["environment"]
    assert told.keys() <= {each.key for each in documented()}
    stated = {key: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value) for key, value in told.items()}
    assert load(stated).kafka_brokers == told["KAFKA_BROKERS"]


def listens_at(service: dict[str, Any]) -> set[str]:
    """Where a program in the host's network is told to listen, by its flags or its environment."""
    command = service.get("command", [])
    told = {after for flag, after in pairwise(command) if flag == "--host"}
    told |= {flag.partition("=")[2].rpartition(":")[0] for flag in command if flag.startswith("--web.listen-address=")}
    return told | {value for key, value in service.get("environment", {}).items() if key == "GF_SERVER_HTTP_ADDR"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_port_is_open_to_anybody_but_this_machine(name: str) -> None:
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if service.get("network_mode") == "host":
        assert listens_at(service) == {"127.0.0.1"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", SERVICES[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_writes_nowhere_but_to_its_volumes(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "user" not in service  # the image's own, which is not root


@pytest.mark.parametrize("name", sorted(OURS.keys() - {"topics"}))
def test_nothing_starts_before_the_topics_are_there(name: str) -> None:
    assert OURS["topics"]["command"] == ["plimsoll", "topics"]
    assert OURS["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert OURS[name]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


def test_the_store_evicts_nothing() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_the_engine_keeps_its_recovery_state_in_a_volume_that_the_image_prepared_for_it() -> None:
    command = SERVICES["engine"]["command"]
    directory = command[command.index("--recovery-directory") + 1]
    assert [volume.partition(":")[2] for volume in SERVICES["engine"]["volumes"]] == [directory]
    assert re.search(rf"install -d -o plimsoll .*{directory}", DOCKERFILE)


def test_the_broker_is_the_one_that_the_tests_run_against() -> None:
    pom = (ROOT / "tests" / "integration" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    tested = re.search("<kafka.version>(.+)</kafka.version>", pom)
    assert tested is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{tested[1]}"


def test_the_image_carries_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {service["image"] for service in OURS.values()} == {f"plimsoll:{project['version']}"}


# --- health -----------------------------------------------------------------------------------------------------------


def engine_health(redis_url: str) -> int:
    """The exit code of the engine's health check, run as Docker would."""
    how, _python, *arguments = SERVICES["engine"]["healthcheck"]["test"]
    assert how == "CMD"
    environ = os.environ | {"REDIS_URL": redis_url}
    done = subprocess.run([sys.executable, *arguments], env=environ, capture_output=True, timeout=30, check=False)
    assert not done.stderr, done.stderr.decode()
    return done.returncode


def beat(age_seconds: float) -> bytes:
    """A worker's heartbeat of so long ago."""
    heartbeat = Heartbeat(
        worker_index=0,
        workers=1,
        started_at_ns=0,
        beat_at_ns=time.time_ns() - int(age_seconds * 1e9),
        state="running",
        portfolios=0,
        applied=0,
        stale=0,
        dead_lettered=0,
        calculations=0,
        average_calculation_time_ms=0.0,
        published=0,
        scenario_set_id=None,
        last_session=None,
        market_source=None,
    )
    return encode(heartbeat)


def test_an_engine_is_healthy_while_its_heart_beats(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert engine_health(redis_url) == 1
        client.hset(keys.ENGINE, "0/1", beat(age_seconds=3600))
        assert engine_health(redis_url) == 1
        client.hset(keys.ENGINE, "0/1", beat(age_seconds=1))
        assert engine_health(redis_url) == 0


# --- the image --------------------------------------------------------------------------------------------------------


def test_the_image_installs_what_the_lock_names_and_runs_as_nobody_in_particular() -> None:
    assert "--require-hashes" in DOCKERFILE
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", final, re.MULTILINE)
    assert "pip install" not in final


def test_the_image_asks_the_api_for_its_health_where_the_api_listens() -> None:
    port = re.search(r"--port.*default: (\d+)", help_of("risk-api"))
    assert port is not None
    assert f"http://127.0.0.1:{port[1]}/live" in DOCKERFILE


def test_what_is_copied_into_the_image_is_what_it_is_built_from() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= let_in
    assert all((ROOT / name).exists() for name in let_in)
