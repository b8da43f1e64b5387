"""What is refused before anything is started, and what the programs are told."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from embedded import demo as demo_module
from embedded.broker import EmbeddedBroker
from embedded.demo import EMBEDDED_PORTFOLIOS_MAX, Demo, PortTaken, check, environment, programs, servers
from embedded.store import EmbeddedStore
from plimsoll import keys
from plimsoll.errors import BadSetting, Unavailable

HERE = servers(Demo(), "k:1", "redis://r")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("demo", "remedy"),
    [
        (Demo(port=0, portfolios=EMBEDDED_PORTFOLIOS_MAX + 1), "point --kafka at a real one"),
        (Demo(port=0, portfolios=0), "--portfolios: 0 is not between 1 and"),
        (Demo(port=0, first_session="2020-02-22"), "the next one is 2020-02-24"),
        (Demo(port=0, first_session="2031-01-02"), "there are 1990-"),
        (Demo(port=0, first_session="1901-01-02"), "there are 1990-"),
        (Demo(port=0, first_session="yesterday"), "there are 1990-"),
        (Demo(port=0, kafka="localhost"), "--kafka: 'localhost' is not host:port"),
        (Demo(port=0, redis="http://localhost"), "--redis: scheme 'http' is none of"),
    ],
)
def test_a_flag_that_cannot_work_is_named_with_the_remedy(demo: Demo, remedy: str) -> None:
    with pytest.raises(BadSetting, match=remedy):
        check(demo, {})


def test_a_real_broker_takes_more_portfolios(broker_address: str) -> None:
    check(Demo(port=0, portfolios=EMBEDDED_PORTFOLIOS_MAX + 1, kafka=broker_address), {})


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(BadSetting, match="PLIMSOLL_WINDOW: no such setting"):
        check(Demo(port=0), {"PLIMSOLL_WINDOW": "250"})


def test_a_port_that_is_in_use_is_said_with_the_remedy(taken_port: int) -> None:
    with pytest.raises(PortTaken, match=rf"^port {taken_port} is in use: choose another with --port, or --port 0 "):
        check(Demo(port=taken_port), {})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_module, "REACH_SECONDS", 0.3)


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_does_not_answer_is_named(embedded_broker: EmbeddedBroker) -> None:
    embedded_broker.down()
    with pytest.raises(Unavailable, match=f"Kafka at {embedded_broker.address}"):
        check(Demo(port=0, kafka=embedded_broker.address), {})


@pytest.mark.usefixtures("impatient")
def test_a_redis_that_does_not_answer_is_named_without_its_password(taken_port: int) -> None:
    with pytest.raises(Unavailable, match=f"Redis at 127.0.0.1:{taken_port}") as refusal:
        check(Demo(port=0, redis=f"redis://:secret@127.0.0.1:{taken_port}"), {})
    assert "secret" not in str(refusal.value)


def test_an_empty_log_does_not_continue_what_a_redis_holds(broker_address: str) -> None:
    with EmbeddedStore.start() as store, redis.Redis.from_url(store.url) as client:
        check(Demo(port=0, redis=store.url), {})

        client.zadd(keys.by_risk(), {"growth": 42})
        with pytest.raises(BadSetting, match=r"holds the risk of 1 portfolios.*or add --kafka"):
            check(Demo(port=0, redis=store.url), {})
        check(Demo(port=0, redis=store.url, kafka=broker_address), {})
        check(Demo(port=0, redis=f"{store.url}/1"), {})


def test_every_program_is_this_python_s_module_and_is_told_of_the_port() -> None:
    started = programs(Demo(portfolios=12, workers=3), 4711, Path("/recovery"))

    assert [command[:3] for command in started.values()] == [[sys.executable, "-m", name] for name in started]
    assert set(started) == {"producer", "api", "engine"}
    assert started["api"][-2:] == ["--port", "4711"]
    assert started["engine"][3:] == [
        *("--workers", "3", "--recovery-directory", "/recovery", "--epoch-interval", "1"),
    ]
    assert "--num-portfolios 12 " in " ".join(started["producer"])


def test_the_programs_are_told_where_the_servers_are_whatever_the_environment_says() -> None:
    told = environment({"KAFKA_BROKERS": "other:9092", "HOME": "/home/me"}, servers(Demo(), "here:1", "redis://here:2"))

    assert told["KAFKA_BROKERS"] == "here:1"
    assert told["REDIS_URL"] == "redis://here:2"
    assert told["HOME"] == "/home/me"


def test_the_caller_s_own_settings_win(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PLIMSOLL_WINDOW_MS=125\n")

    assert environment({}, HERE)["PLIMSOLL_WINDOW_MS"] == "250"
    assert environment({}, HERE, dotenv)["PLIMSOLL_WINDOW_MS"] == "125"
    assert environment({"PLIMSOLL_WINDOW_MS": "50"}, HERE, dotenv)["PLIMSOLL_WINDOW_MS"] == "50"
    assert environment({"PLIMSOLL_SCENARIOS": "300"}, HERE)["PLIMSOLL_SCENARIOS"] == "300"


def test_the_engine_of_a_demo_serves_its_health_on_a_free_port_or_where_it_was_asked_to(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PLIMSOLL_HEALTH_PORT=9500\n")
    asked = {"PLIMSOLL_HEALTH_PORT": "9464"}
    assert environment({}, HERE)["PLIMSOLL_HEALTH_PORT"] == "0"
    assert environment({}, HERE, health_port=4711)["PLIMSOLL_HEALTH_PORT"] == "4711"
    assert environment({}, HERE, dotenv, health_port=4711)["PLIMSOLL_HEALTH_PORT"] == "9500"
    assert environment(asked, HERE, health_port=4711)["PLIMSOLL_HEALTH_PORT"] == "9464"
