"""The containers, as far as they can be judged without Docker: what they run exists, and nobody else can reach it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from plimsoll.settings import documented, load

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
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
def test_a_container_is_told_every_setting_and_nothing_else(name: str) -> None:
    told = OURS[name]["environment"]
    settings = {each.key for each in documented()}
    # What is not in `environment` stays outside: a line of `.env` would be ignored without a word. How the containers
    # reach one another is not for `.env` to say.
    within = {key for key in settings if key.startswith(("PLIMSOLL_HEALTH_", "PLIMSOLL_KAFKA_", "PLIMSOLL_REDIS_"))}
    assert told.keys() | within == settings, "docker-compose.yml (x-settings) does not name the settings of the code"
    stated = {key: value for key, value in told.items() if value is not None}
    assert load(stated).kafka_brokers == told["KAFKA_BROKERS"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_port_is_open_to_anybody_but_this_machine(name: str) -> None:
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if service.get("network_mode") == "host":
        assert "ports" not in service
        told = [*service.get("command", ()), *service.get("environment", {}).values()]
        addresses = [word for word in map(str, told) if re.search(r"(?:^|=)127\.0\.0\.1(?::\d+)?$", word)]
        assert addresses, f"{name} is in the host's network and names no address to listen on"
        assert not any("0.0.0.0" in str(word) for word in told)


def test_every_address_that_is_promised_is_there() -> None:
    published = {port.rpartition(":")[0].removeprefix("127.0.0.1:"): name
                 for name, service in SERVICES.items() for port in service.get("ports", ())}  # fmt: skip
    web = {"8080": "kafka-ui", "8001": "redisinsight"}
    assert published == web | {"9092": "kafka", "6379": "redis", "9464": "engine", "9465": "engine"}
    assert "6066" in SERVICES["api"]["command"]
    assert "--web.listen-address=127.0.0.1:9090" in SERVICES["prometheus"]["command"]
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_PORT"] == "3000"


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
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*?)"', DOCKERFILE))
    assert labels == {
        "title": "Plimsoll",
        "description": project["description"],
        "version": project["version"],
        "licenses": project["license"],
    }


def test_both_stages_of_the_image_stand_on_the_same_debian_whose_glibc_the_wheels_need() -> None:
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases.pop())


# --- every service ----------------------------------------------------------------------------------------------------


def test_the_core_starts_by_itself_and_the_rest_by_profile() -> None:
    by_profile: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service.get("profiles", ["core"]):
            by_profile.setdefault(profile, set()).add(name)
    assert by_profile == {
        "core": {"kafka", "redis", "topics", "engine", "api"},
        "load": {"producer"},
        "observability": {"kafka-ui", "redisinsight", "prometheus", "alertmanager", "grafana"},
    }
    # A core that waited for a profile would not start without it.
    for name in by_profile["core"]:
        assert SERVICES[name].get("depends_on", {}).keys() <= by_profile["core"]


def test_make_stops_and_removes_the_services_of_every_profile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.search(r"^ALL_PROFILES := (.*)$", makefile, re.MULTILINE)
    assert named is not None
    assert set(named[1].split()) == {each for service in SERVICES.values() for each in service.get("profiles", ())}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_watched_bounded_and_ended_gently(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert service["stop_grace_period"].endswith("s")
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    if service["restart"] == "no":
        assert service["healthcheck"] == {"disable": True}
    elif name != "api":  # the image's own
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["healthcheck"]["retries"] > 0


def test_every_volume_is_named_and_used_once() -> None:
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    named = [source for source in mounted if not source.startswith("./")]
    assert sorted(named) == sorted(COMPOSE["volumes"])


def test_what_is_mounted_from_the_checkout_is_there_and_cannot_be_written() -> None:
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", ()) if volume[0] == "."]
    assert len(mounts) == 5
    for mount in mounts:
        source, _target, mode = mount.split(":")
        assert mode == "ro"
        assert (ROOT / source).exists(), source


def test_grafana_finds_its_dashboards_where_its_provisioning_looks() -> None:
    target = next(
        each.split(":")[1] for each in SERVICES["grafana"]["volumes"] if each.startswith("./deploy/grafana/d")
    )
    providers = sorted((ROOT / "deploy" / "grafana" / "provisioning" / "dashboards").glob("*.y*ml"))
    said = [each["options"]["path"] for path in providers for each in yaml.safe_load(path.read_text())["providers"]]
    assert said
    assert all(path == target or path.startswith(f"{target}/") for path in said)


def test_prometheus_asks_where_the_api_and_the_workers_answer() -> None:
    scraped = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    workers = SERVICES["engine"]["command"]
    count = int(workers[workers.index("--workers") + 1])
    first = int(SERVICES["engine"]["environment"]["PLIMSOLL_HEALTH_PORT"])
    ports = [str(first + worker) for worker in range(count)]
    assert SERVICES["engine"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports]
    assert all(port in SERVICES["engine"]["healthcheck"]["test"][-1] for port in ports)
    for port in [*ports, "6066"]:
        assert f"127.0.0.1:{port}" in scraped


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEYS?$", key):
                assert value is None or value.startswith("${"), f"{name} states {key}"


def test_the_file_is_a_compose_file_by_the_specifications_schema() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    command = [checker, "--builtin-schema", "vendor.compose-spec", FILE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="no docker-compose here")
def test_docker_compose_itself_reads_the_file_and_hands_settings_on() -> None:
    command = ["docker-compose", "-f", FILE, "config"]
    environ = {"PATH": os.environ["PATH"], "PLIMSOLL_METHOD": "historical"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told = yaml.safe_load(done.stdout)["services"]["engine"]["environment"]
    assert told["PLIMSOLL_METHOD"] == "historical"
    assert told["PLIMSOLL_WINDOW_MS"] is None


# --- the image --------------------------------------------------------------------------------------------------------


def test_the_image_installs_what_the_lock_names_and_runs_as_nobody_in_particular() -> None:
    assert "--require-hashes" in DOCKERFILE
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", final, re.MULTILINE)
    assert "pip install" not in final
    # What could install or build something is taken out.
    assert "pip uninstall --yes" in final
    assert "venv --without-pip" in DOCKERFILE


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
