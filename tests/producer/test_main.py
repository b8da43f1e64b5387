"""`data-generator` as its user meets it: flags, exit codes, signals, and what arrives on the topics."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Protocol

import pytest
from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from typer.testing import CliRunner

from embedded.broker import EmbeddedBroker
from embedded.child import Child
from plimsoll.messages import decode_market_close, decode_market_tick, decode_portfolio_update
from plimsoll.topics import MARKET_CLOSES, MARKET_DATA, PORTFOLIO_UPDATES, Topic
from producer.__main__ import command
from producer.progress import LINES, Progress

STOP_SECONDS_MAX = 3.0
"""Two are promised; the third is for a machine that runs other tests at the same time."""


class Processes(Protocol):
    """The fixture that starts programs and ends them."""

    def python(self, *arguments: str) -> Child: ...

    def wait_for(self, condition: Callable[[], bool], what: str) -> bool: ...


def read_all(address: str, topic: Topic) -> list[tuple[bytes, bytes]]:
    """Key and value of every record there is."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test", "enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic.name, partition, 0) for partition in range(topic.partitions)])
        records, open_partitions = [], topic.partitions
        while open_partitions:
            message = consumer.poll(10.0)
            assert message is not None, "the broker stopped answering"
            if message.error():
                open_partitions -= 1
            else:
                records.append((message.key(), message.value()))
        return records
    finally:
        consumer.close()


def size(address: str, topic: Topic) -> int:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "test"})
    try:
        return sum(
            consumer.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=5.0)[1]
            for partition in range(topic.partitions)
        )
    finally:
        consumer.close()


def test_a_batch_leaves_nothing_that_a_reader_would_refuse(processes: Processes, broker_address: str) -> None:
    child = processes.python(
        "-m", "producer", "--broker", broker_address, "--mode", "batch",
        "--num-portfolios", "60", "--updates-per-portfolio", "3", "--advisors", "7",
    )  # fmt: skip
    assert child.wait(30.0)
    assert child.exit_code() == 0, child.tail()
    now_ns = time.time_ns()

    portfolios = [
        decode_portfolio_update(key, value, now_ns) for key, value in read_all(broker_address, PORTFOLIO_UPDATES)
    ]
    assert set(Counter(portfolio.id for portfolio in portfolios).values()) == {3}
    assert len({portfolio.id for portfolio in portfolios}) == 60
    assert len({portfolio.advisor_id for portfolio in portfolios}) == 7

    closes = [decode_market_close(key, value, time.time_ns()) for key, value in read_all(broker_address, MARKET_CLOSES)]
    assert len(closes) == 7591
    assert closes[-1].sectors is not None
    assert [close.session for close in closes][-1] == "2020-02-18"

    ticks = [decode_market_tick(key, value, now_ns) for key, value in read_all(broker_address, MARKET_DATA)]
    assert {tick.symbol: tick.price for tick in ticks} == closes[-1].closes

    told = child.log.read_text()
    assert "acknowledged portfolio-updates: 180\n" in told
    assert re.search(r"^180 of 180 messages in [\d.]+ s, [\d,]+ a second$", told, re.MULTILINE)
    assert "portfolio-updates: 180 of 180 acknowledged\n" in told


def test_a_session_is_streamed_to_its_real_closes(processes: Processes, broker_address: str) -> None:
    child = processes.python(
        "-m", "producer", "--broker", broker_address, "--session-seconds", "2", "--ticks-per-second", "400",
        "--history", "30", "--portfolio-interval", "0.1", "--num-portfolios", "5", "--duration", "5",
    )  # fmt: skip
    assert child.wait(30.0)
    assert child.exit_code() == 0, child.tail()
    now_ns = time.time_ns()
    records = read_all(broker_address, MARKET_CLOSES)
    decoded = [decode_market_close(key, value, time.time_ns()) for key, value in records]
    closes = {close.session: close.closes for close in decoded}
    assert list(closes)[-2:] == ["2020-02-19", "2020-02-20"]
    assert len(closes) == 32
    ticks = [decode_market_tick(key, value, now_ns) for key, value in read_all(broker_address, MARKET_DATA)]
    last = {(tick.session, tick.symbol): tick.price for tick in ticks}
    assert all(
        last[session, symbol] == price for session in list(closes)[-2:] for symbol, price in closes[session].items()
    )
    updates = [
        decode_portfolio_update(key, value, now_ns) for key, value in read_all(broker_address, PORTFOLIO_UPDATES)
    ]
    assert len(updates) > 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(processes: Processes, broker_address: str, number: signal.Signals) -> None:
    child = processes.python("-m", "producer", "--broker", broker_address, "--ticks-per-second", "1000")
    processes.wait_for(lambda: size(broker_address, MARKET_DATA) > 500, "ticks")
    os.kill(child.pid, number)
    assert child.wait(STOP_SECONDS_MAX)
    assert child.exit_code() == 0, child.tail()
    told = re.search(r"acknowledged market-data: ([\d,]+)", child.log.read_text())
    assert told
    assert int(told[1].replace(",", "")) == size(broker_address, MARKET_DATA)
    assert "Traceback" not in child.log.read_text()


def test_it_stops_though_the_broker_is_gone_and_says_little_of_it(
    processes: Processes, embedded_broker: EmbeddedBroker
) -> None:
    child = processes.python("-m", "producer", "--broker", embedded_broker.address, "--ticks-per-second", "1000")
    processes.wait_for(lambda: size(embedded_broker.address, MARKET_DATA) > 500, "ticks")
    embedded_broker.down()
    processes.wait_for(lambda: "aiokafka" in child.log.read_text(), "a word about the broker")
    child.terminate()
    assert child.wait(STOP_SECONDS_MAX)
    assert child.exit_code() == 0, child.tail()
    assert "Traceback" not in child.log.read_text()
    assert child.log.read_text().count('"aiokafka') < 10


def test_a_batch_that_is_stopped_does_not_claim_to_be_done(processes: Processes, broker_address: str) -> None:
    child = processes.python(
        "-m", "producer", "--broker", broker_address, "--mode", "batch",
        "--num-portfolios", "2000", "--updates-per-portfolio", "1000",
    )  # fmt: skip
    processes.wait_for(lambda: size(broker_address, PORTFOLIO_UPDATES) > 100, "portfolios")
    child.terminate()
    assert child.wait(STOP_SECONDS_MAX)
    assert child.exit_code() == 1, child.tail()
    assert re.search(r"of 2,000,000 messages in", child.log.read_text())


def test_a_missing_topic_ends_it_with_one_line(processes: Processes) -> None:
    with EmbeddedBroker.start([MARKET_DATA]) as broker:
        child = processes.python("-m", "producer", "--broker", broker.address)
        assert child.wait(20.0)
    assert child.exit_code() == 1
    assert child.tail().startswith("data-generator: topic market-closes is missing")
    assert len(child.tail().splitlines()) == 1


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a `.env`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--mode", "often"),
        ("--num-portfolios", "0"),
        ("--num-portfolios", "many"),
        ("--updates-per-portfolio", "0"),
        ("--portfolio-interval", "0"),
        ("--portfolio-interval", "-1"),
        ("--market-interval", "nan"),
        ("--market-interval", "1e-6"),
        ("--broker", "localhost"),
        ("--advisors", "0"),
        ("--seed", "-1"),
        ("--from", "19 Feb 2020"),
        ("--from", "1990-01-03"),
        ("--from", "2022-12-29"),
        ("--session-seconds", "inf"),
        ("--session-seconds", "604801"),
        ("--history", "0"),
        ("--ticks-per-second", "0"),
        ("--ticks-per-second", "1e9"),
        ("--duration", "0"),
    ],
)
def test_a_wrong_flag_is_named(flag: str, value: str) -> None:
    answer = CliRunner().invoke(command(), [flag, value])
    assert answer.exit_code == 2
    assert f"'{flag}'" in answer.output


@pytest.mark.usefixtures("elsewhere")
def test_a_batch_has_no_duration() -> None:
    answer = CliRunner().invoke(command(), ["--mode", "batch", "--duration", "5"])
    assert answer.exit_code == 2
    assert "'--duration'" in answer.output


@pytest.mark.parametrize("flag", ["--num-portfolios", "--updates-per-portfolio"])
def test_own_portfolios_are_as_many_as_there_are_and_are_stated_once(elsewhere: Path, flag: str) -> None:
    answer = CliRunner().invoke(command(), ["--positions", str(elsewhere / "positions.csv"), flag, "3"])
    assert answer.exit_code == 2
    assert f"'{flag}'" in answer.output
    assert "those of --positions" in answer.output


def test_a_bad_file_is_one_sentence_with_its_place(elsewhere: Path) -> None:
    (elsewhere / "prices.csv").write_text("date,KO\n2026-01-05,five\n")
    answer = CliRunner().invoke(command(), ["--prices", "prices.csv"])
    assert (answer.exit_code, answer.output) == (
        1, "data-generator: prices.csv, row 2, column KO: 'five' is not a number\n",
    )  # fmt: skip


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("key", "value"), [("KAFKA_BROKERS", "nowhere"), ("PLIMSOLL_WINDWO_MS", "50")])
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    monkeypatch.setenv(key, value)
    answer = CliRunner().invoke(command(), [])
    assert answer.exit_code == 2
    assert key in answer.output


def test_a_wrong_line_in_dotenv_is_named(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("LOG_LEVEL=loud\n")
    answer = CliRunner().invoke(command(), [])
    assert answer.exit_code == 2
    assert "LOG_LEVEL" in answer.output


def test_the_help_tells_every_flag_with_its_default() -> None:
    told = " ".join(CliRunner().invoke(command(), ["--help"]).output.split())
    for flag, default in [
        ("--mode", "continuous"), ("--num-portfolios", "(100)"), ("--updates-per-portfolio", "(5)"),
        ("--portfolio-interval", "2.0"), ("--market-interval", "1.0"), ("--broker", "(KAFKA_BROKERS)"),
        ("--advisors", "20"), ("--seed", "7"), ("--from", "(2020-02-19;"), ("--session-seconds", "20.0"),
        ("--history", "(all there are)"), ("--ticks-per-second", "(by"), ("--duration", "(for ever)"),
    ]:  # fmt: skip
        assert re.search(rf"{flag} <[^>]+>[^<]*\[default: {re.escape(default)}", told), flag


def test_progress_counts_the_batch_in_plain_lines_where_there_is_no_terminal() -> None:
    page = StringIO()
    with Progress("portfolio-updates", 1000, Console(file=page)) as progress:
        progress.acknowledged("market-data", 500)
        for _ in range(100):
            progress.acknowledged("portfolio-updates", 10)
    lines = page.getvalue().splitlines()
    assert len(lines) == LINES
    assert lines[0] == "portfolio-updates: 100 of 1,000 acknowledged"
    assert lines[-1] == "portfolio-updates: 1,000 of 1,000 acknowledged"


def test_progress_is_a_bar_on_a_terminal() -> None:
    page = StringIO()
    with Progress("portfolio-updates", 40, Console(file=page, force_terminal=True, width=80)) as progress:
        progress.acknowledged("portfolio-updates", 40)
    assert "40/40" in page.getvalue()


def test_logs_are_json_lines(processes: Processes, broker_address: str) -> None:
    child = processes.python("-m", "producer", "--broker", broker_address, "--duration", "0.2", "--history", "9000")
    assert child.wait(20.0)
    logged = [json.loads(line) for line in child.log.read_text().splitlines() if line.startswith("{")]
    assert any("sessions lie before 2020-02-19" in line["message"] for line in logged)
    assert any(line["message"] == "session 2020-02-19 opens" for line in logged)
