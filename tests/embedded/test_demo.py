"""What is refused before anything is started, and what the programs are told."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import redis

from embedded import demo as demo_module
from embedded import own_files
from embedded.broker import EmbeddedBroker
from embedded.demo import EMBEDDED_PORTFOLIOS_MAX, Demo, PortTaken, check, environment, programs, servers
from embedded.store import EmbeddedStore
from plimsoll import keys
from plimsoll.errors import BadSetting, Unavailable
from plimsoll.reports.files import BadFile
from plimsoll.settings import load

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


def test_files_of_one_s_own_settle_what_was_left_open(own: dict[str, Path]) -> None:
    settled = check(Demo(port=0, prices=(own["prices"],), positions=own["positions"]), {})

    assert (settled.portfolios, settled.first_session, settled.benchmark) == (2, "2023-03-03", "none")
    assert settled.notices == (
        f"{own['positions']}: ignored note",
        f"{own['positions']}: GONE (row 3): no price, so whoever holds it is valued without it",
        f"no benchmark among the columns of {own['prices']}, so beta is unknown: --benchmark names one",
        f"60 scenarios and not 500, which is all that {own['prices']} gives",
    )
    told = programs(settled, 4711, Path("/recovery"))["producer"]
    assert "--num-portfolios" not in told
    for flag, value in (("--prices", own["prices"]), ("--positions", own["positions"]), ("--from", "2023-03-03")):
        assert told[told.index(flag) + 1] == str(value)
    assert environment({}, HERE, benchmark=settled.benchmark)["PLIMSOLL_BENCHMARK"] == "none"


def test_a_benchmark_is_one_of_one_s_own_columns(own: dict[str, Path]) -> None:
    mine = Demo(port=0, prices=(own["prices"],))
    assert check(replace(mine, benchmark="KO"), {}).benchmark == "KO"
    assert check(mine, {"PLIMSOLL_BENCHMARK": "OAK"}).benchmark == "OAK"
    with pytest.raises(BadFile, match="no column DAX, which is to be the benchmark"):
        check(replace(mine, benchmark="DAX"), {})
    with pytest.raises(BadSetting, match="--benchmark: a column of --prices, and there are none"):
        check(Demo(port=0, benchmark="KO"), {})


def test_the_history_of_many_symbols_is_what_the_embedded_broker_keeps(
    own: dict[str, Path], broker_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Demo(port=0, prices=(own["prices"],))
    monkeypatch.setattr(own_files, "CLOSES_SIZE_MAX", own_files.COMPRESSED_SHARE * len('"KO":55.0,"OAK":89.0,') * 61)
    assert check(mine, {}).history == 61
    monkeypatch.setattr(own_files, "CLOSES_SIZE_MAX", 500)
    with pytest.raises(BadSetting, match="--prices: 2 symbols are more than the embedded broker keeps"):
        check(mine, {})
    assert check(replace(mine, kafka=broker_address), {}).history == 61


def test_positions_without_prices_are_valued_with_the_bundled_ones(own: dict[str, Path]) -> None:
    settled = check(Demo(port=0, positions=own["positions"]), {})

    assert (settled.first_session, settled.benchmark) == ("2020-02-19", None)
    assert settled.notices[-1].endswith("GONE (row 3), OAK (row 4): no price, so whoever holds it is valued without it")


def test_what_the_files_say_is_refused_before_anything_is_started(own: dict[str, Path]) -> None:
    own["positions"].write_text("portfolio_id,symbol,quantity\nmy fund,KO,1\n")
    with pytest.raises(BadFile, match=r"positions.csv, row 2, column portfolio_id: no identifier"):
        check(Demo(port=0, prices=(own["prices"],), positions=own["positions"]), {})


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Path]:
    """62 sessions of two names, and two portfolios."""
    rows = [f"{date(2023, 1, 1) + timedelta(days=day)},{50 + day % 7},{90 - day % 5}\n" for day in range(62)]
    files = {"prices": tmp_path / "prices.csv", "positions": tmp_path / "positions.csv"}
    files["prices"].write_text("date,KO,OAK\n" + "".join(rows))
    files["positions"].write_text("portfolio_id,symbol,quantity,note\na,KO,1,x\na,GONE,2,\nb,OAK,-3,\n")
    return files


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


def test_an_embedded_server_knows_neither_tls_nor_users_whatever_is_said_of_others(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("correct-horse", encoding="utf-8")
    stated = {
        "PLIMSOLL_KAFKA_SECURITY": "SASL_SSL",
        "PLIMSOLL_KAFKA_USERNAME": "engine",
        "PLIMSOLL_KAFKA_PASSWORD_FILE": str(tmp_path / "word"),
        "REDIS_URL_FILE": "nowhere",
        "PLIMSOLL_REDIS_CA": "nowhere.pem",
    }
    told = load(environment(stated, HERE))
    assert (told.kafka_security, told.kafka_password, told.redis_url) == ("PLAINTEXT", "", "redis://r")
    real = servers(Demo(kafka="kafka:9093", redis="rediss://r"), "kafka:9093", "rediss://r")
    told = load(environment({**stated, "PLIMSOLL_REDIS_CA": ""}, real))
    assert (told.kafka_security, told.kafka_password, told.redis_url) == ("SASL_SSL", "correct-horse", "rediss://r")
