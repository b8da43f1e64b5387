"""`plimsoll dead-letters` as a shell sees it: what it prints where, what it sends, what it refuses, its exit codes."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from engine.dead_letters import KEYED_BY
from engine.drain import Drain
from engine.kafka_sink import KafkaWriter, producer
from engine.ledger import RAW_SIZE_MAX, Ledger, Record
from engine.window import Window
from plimsoll import topics
from plimsoll.commands.dead_letters import TopicName, since_ns
from plimsoll.errors import BadSetting, Reason
from plimsoll.messages import DeadLetter
from plimsoll.transport import Kafka

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "plimsoll.cli", "dead-letters"]
UPDATES, TICKS = topics.PORTFOLIO_UPDATES, topics.MARKET_DATA
GOOD = b'{"id":"p-1","advisor_id":"a","positions":[{"symbol":"AAPL","quantity":1}]}'
HOUR_NS = 3600 * 10**9
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, broker_address: str) -> Run:
    """Runs the command against a fresh broker, without a terminal."""

    def start(*arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        how = {"stdin": subprocess.DEVNULL, "text": True} | how
        environ = os.environ | {"TERM": "dumb", "COLUMNS": "100", "KAFKA_BROKERS": broker_address}
        return subprocess.run(
            [*COMMAND, *arguments], capture_output=True, check=False, timeout=60, cwd=tmp_path, env=environ, **how
        )

    return start


def told(address: str, topic: topics.Topic, records: Sequence[tuple[bytes | None, bytes | None]]) -> list[int]:
    """Send records to partition 2 of a topic; their offsets."""
    offsets: list[int] = []
    client = Producer({"bootstrap.servers": address})
    for key, value in records:
        client.produce(topic.name, value, key, 2, lambda _, message: offsets.append(message.offset()))
    assert client.flush(10) == 0
    return offsets


def set_aside(
    address: str,
    topic: topics.Topic,
    records: Sequence[tuple[bytes | None, bytes | None]],
    *,
    hours_ago: int = 0,
    times: int = 1,
) -> list[DeadLetter]:
    """Send records, have the engine's ledger judge them, and its sink write what the ledger sets aside."""
    ledger = Ledger.recovered(None, "SP500", 500, 0.94)
    for offset, (key, value) in zip(told(address, topic, records), records, strict=True):
        ledger.take(Record(topic.name, 2, offset, key, value), time.time_ns() - hours_ago * HOUR_NS)
    letters = ledger.take_dead()
    writer = KafkaWriter(producer(Kafka(address)), Drain())
    writer.write_batch([Window(dead_letters=letters)] * times)
    writer.snapshot()
    return letters


def stands_in(address: str, topic: topics.Topic) -> list[Any]:
    """Every record in partition 2 of a topic."""
    client = Consumer({"bootstrap.servers": address, "group.id": "t", "enable.partition.eof": True})
    client.assign([TopicPartition(topic.name, 2, 0)])
    records: list[Any] = []
    deadline = time.monotonic() + 10
    while not records or records[-1].error() is None:
        assert time.monotonic() < deadline, f"no end of {topic.name}/2 after {len(records)} records"
        records += client.consume(100, 0.1)
    client.close()
    return [record for record in records if record.error() is None]


# --- list -------------------------------------------------------------------------------------------------------------


def test_no_letters_are_good_news(run: Run) -> None:
    answer = run("list")
    assert (answer.returncode, answer.stdout, answer.stderr) == (
        0,
        "No dead letters: everything that arrived could be applied.\n",
        "",
    )
    answer = run("list", "--json")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert "No dead letters" in answer.stderr


def test_a_list_has_the_newest_last_a_summary_and_each_record_once(run: Run, broker_address: str) -> None:
    set_aside(broker_address, TICKS, [(b"AAPL", b'{"symbol":"AAPL","price":-1}')])
    set_aside(broker_address, UPDATES, [(b"p-1", b"{"), (b"\x1b[2J", GOOD), (None, b"{")], hours_ago=3, times=2)
    answer = run("list")
    assert answer.returncode == 0, answer.stderr
    sources = re.findall(r"^\S+ \S+ +(\S+/2/\d) +([A-Z_]+) ", answer.stdout, re.MULTILINE)
    assert sources == [
        ("portfolio-updates/2/0", "MALFORMED_JSON"),
        ("portfolio-updates/2/1", "KEY_MISMATCH"),
        ("portfolio-updates/2/2", "MALFORMED_JSON"),
        ("market-data/2/0", "OUT_OF_RANGE"),
    ]
    assert re.search(r"^MALFORMED_JSON +portfolio-updates +2$", answer.stdout, re.MULTILINE)
    assert re.search(r"^all +4$", answer.stdout, re.MULTILINE)
    assert "\x1b" not in answer.stdout
    assert "3 records repeated a letter" in answer.stderr


def test_a_list_can_be_narrowed_and_says_what_is_left_out(run: Run, broker_address: str) -> None:
    set_aside(broker_address, UPDATES, [(b"p-%d" % n, b"{") for n in range(5)], hours_ago=3)
    set_aside(broker_address, UPDATES, [(b"p-9", GOOD)])
    set_aside(broker_address, TICKS, [(b"A", b"{")])

    def sources(*flags: str) -> list[str]:
        answer = run("list", "--json", *flags)
        assert answer.returncode == 0, answer.stderr
        return [json.loads(line)["source"] for line in answer.stdout.splitlines()]

    malformed = [f"portfolio-updates/2/{n}" for n in range(5)]
    assert sources("--reason", "key_mismatch") == ["portfolio-updates/2/5"]
    assert sources("--reason", "KEY_MISMATCH", "--reason", "MALFORMED_JSON", "--topic", "portfolio-updates") == [
        *malformed,
        "portfolio-updates/2/5",
    ]
    assert sources("--since", "2h") == ["portfolio-updates/2/5", "market-data/2/0"]
    assert sources("--limit", "0") == [*malformed, "portfolio-updates/2/5", "market-data/2/0"]

    answer = run("list", "--limit", "2")
    assert "these are the newest 2 of 7: 5 were left out (--limit)" in answer.stderr
    assert "portfolio-updates/2/4 " not in answer.stdout
    assert re.search(r"^all +7$", answer.stdout, re.MULTILINE)

    answer = run("list", "--reason", "FUTURE")
    assert (answer.returncode, answer.stdout) == (0, "No dead letter matches; there are 7 others.\n")


def test_a_row_of_json_says_everything_but_the_bytes(run: Run, broker_address: str) -> None:
    (letter,) = set_aside(broker_address, TICKS, [(b"\xff", b'{"symbol":"AAPL","price":NaN}')])
    row = json.loads(run("list", "--json").stdout)
    assert row["reason"] == "NON_FINITE"
    assert row["field"] == "price"
    assert (row["topic"], row["partition"], row["offset"]) == ("market-data", 2, 0)
    assert (row["key"], row["key_base64"]) == (None, base64.b64encode(b"\xff").decode())
    assert (row["raw_size"], row["raw_truncated"], row["sha256"]) == (29, False, letter.sha256)
    assert int(row["dead_at_ns"]) == letter.dead_at_ns
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["dead_at"])
    assert not [name for name in row if name.startswith("raw_") and name not in ("raw_size", "raw_truncated")]


def test_a_record_of_the_topic_that_is_no_letter_is_told_of(run: Run, broker_address: str) -> None:
    told(broker_address, topics.DEAD_LETTERS, [(b"k", b"what is this")])
    answer = run("list")
    assert answer.returncode == 0
    assert "1 record of the topic dead-letters could not be read as dead letters" in answer.stderr


# --- show -------------------------------------------------------------------------------------------------------------


def test_showing_one_tells_everything_and_ends_with_the_record(run: Run, broker_address: str) -> None:
    set_aside(broker_address, UPDATES, [(b"p-2", GOOD)])
    answer = run("show", "portfolio-updates/2/0")
    assert (answer.returncode, answer.stderr) == (0, "")
    for name, text in (
        ("reason", "KEY_MISMATCH"),
        ("field", "key"),
        ("key", "p-2"),
        ("size", f"{len(GOOD)} bytes"),
        ("kept", "whole"),
        ("", "matches the bytes below"),
    ):
        assert re.search(rf"^{name} +{text} *$", answer.stdout, re.MULTILINE), answer.stdout
    assert answer.stdout.endswith(f"\n\n{GOOD.decode()}\n")


def test_bytes_that_are_no_text_are_shown_as_a_hexdump_and_written_as_they_are(run: Run, broker_address: str) -> None:
    raw = b'\xff\xfe{"id":\r\n\x00}'
    set_aside(broker_address, UPDATES, [(b"p-2", raw)])
    assert "00000000  ff fe 7b 22 69 64 22 3a  0d 0a 00 7d" in run("show", "portfolio-updates/2/0").stdout
    assert run("show", "portfolio-updates/2/0", "--raw", text=False).stdout == raw
    found = json.loads(run("show", "portfolio-updates/2/0", "--json").stdout)
    assert (base64.b64decode(found["raw_base64"]), found["raw_text"]) == (raw, None)
    assert found["sha256_matches"] is True


def test_of_a_truncated_letter_it_is_said_that_the_rest_is_elsewhere(run: Run, broker_address: str) -> None:
    set_aside(broker_address, UPDATES, [(b"p-2", b"{" * (RAW_SIZE_MAX + 1))])
    answer = run("show", "portfolio-updates/2/0")
    assert "cannot be checked: 65,536 of 65,537 bytes are here" in answer.stdout
    assert "the whole record stood at portfolio-updates/2/0, and `replay` takes it from there" in answer.stderr
    assert json.loads(run("show", "portfolio-updates/2/0", "--json").stdout)["sha256_matches"] is None


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_replay_is_told_first_then_done_once(run: Run, broker_address: str) -> None:
    set_aside(broker_address, UPDATES, [(b"p-1", b"{"), (b"p-2", b"{"), (b"p-3", GOOD)])
    flags = ("replay", "--reason", "MALFORMED_JSON")

    answer = run(*flags, "--dry-run")
    assert answer.returncode == 0
    assert answer.stdout.splitlines() == [
        f"would send portfolio-updates/2/{n} (1 byte) to portfolio-updates/2" for n in range(2)
    ]
    assert "portfolio-updates/2/0 would be set aside again, MALFORMED_JSON" in answer.stderr
    assert answer.stderr.endswith("2 to send, 0 replayed before, 0 held back; nothing was sent\n")
    assert len(stands_in(broker_address, UPDATES)) == 3

    answer = run(*flags, "--yes")
    assert answer.returncode == 0
    assert answer.stdout.splitlines() == [f"portfolio-updates/2/{n} -> portfolio-updates/2/{n + 3}" for n in range(2)]
    sent = stands_in(broker_address, UPDATES)[3:]
    assert [(one.key(), one.value(), one.headers()) for one in sent] == [
        (b"p-%d" % (n + 1), b"{", [("plimsoll-replay-of", b"portfolio-updates/2/%d" % n)]) for n in range(2)
    ]

    answer = run(*flags, "--yes")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert "portfolio-updates/2/0 is left out: it was replayed as portfolio-updates/2/3" in answer.stderr
    assert len(stands_in(broker_address, UPDATES)) == 5


def test_what_would_replace_something_newer_is_held_back_and_the_others_go(run: Run, broker_address: str) -> None:
    set_aside(broker_address, UPDATES, [(b"p-1", b"{"), (b"p-2", b"{")])
    told(broker_address, UPDATES, [(b"p-1", GOOD)])

    answer = run("replay", "portfolio-updates/2/0", "portfolio-updates/2/1", "--yes")
    assert answer.returncode == 1
    assert answer.stdout == "portfolio-updates/2/1 -> portfolio-updates/2/3\n"
    assert (
        "portfolio-updates/2/0 is held back: portfolio-updates/2/2 is a newer record of portfolio p-1" in answer.stderr
    )

    answer = run("replay", "portfolio-updates/2/0", "--yes", "--force")
    assert (answer.returncode, answer.stdout) == (0, "portfolio-updates/2/0 -> portfolio-updates/2/4\n")


def test_a_corrected_file_is_sent_in_place_of_the_record(run: Run, broker_address: str, tmp_path: Path) -> None:
    set_aside(broker_address, UPDATES, [(b"p-1", b"{")])
    corrected = tmp_path / "p-1.json"
    corrected.write_bytes(GOOD)
    answer = run("replay", "portfolio-updates/2/0", "--value", str(corrected), "--yes")
    assert answer.returncode == 0, answer.stderr
    assert "set aside again" not in answer.stderr
    sent = stands_in(broker_address, UPDATES)[1]
    assert (sent.key(), sent.value()) == (b"p-1", GOOD)


def test_a_truncated_letter_is_sent_whole(run: Run, broker_address: str) -> None:
    long = b"{" * (RAW_SIZE_MAX + 1)
    set_aside(broker_address, UPDATES, [(b"p-1", long)])
    assert run("replay", "portfolio-updates/2/0", "--yes").returncode == 0
    assert stands_in(broker_address, UPDATES)[1].value() == long


def at_a_terminal(
    address: str, directory: Path, typed: str, arguments: Sequence[str], before_typing: Callable[[], object]
) -> tuple[int, str, str]:
    """Run the command with a terminal for its input; once it asks, do something and type an answer."""
    keyboard, terminal = pty.openpty()
    environ = os.environ | {"TERM": "dumb", "KAFKA_BROKERS": address}
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=environ,
    ) as asked:
        assert asked.stderr is not None
        deadline = threading.Timer(30.0, asked.kill)
        deadline.start()
        try:
            heard = b""
            while not heard.endswith(b"[y/N] "):
                one = asked.stderr.read(1)
                assert one, heard
                heard += one
            before_typing()
            os.write(keyboard, typed.encode())
            out, rest = asked.communicate(timeout=30)
        finally:
            deadline.cancel()
            asked.kill()
            os.close(keyboard)
            os.close(terminal)
    return asked.returncode, out.decode(), (heard + rest).decode()


@pytest.mark.parametrize(("typed", "code", "sent"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_a_terminal_is_asked_and_only_a_yes_sends(
    broker_address: str, tmp_path: Path, typed: str, code: int, sent: int
) -> None:
    set_aside(broker_address, UPDATES, [(b"p-1", b"{")])
    arguments = ["replay", "portfolio-updates/2/0"]
    found, _, said = at_a_terminal(broker_address, tmp_path, typed, arguments, lambda: None)
    assert found == code, said
    assert "Send 1 record back?" in said
    assert len(stands_in(broker_address, UPDATES)) == 1 + sent


def test_what_was_restated_while_the_question_stood_is_not_sent(broker_address: str, tmp_path: Path) -> None:
    set_aside(broker_address, UPDATES, [(b"p-1", b"{"), (b"p-2", b"{")])
    code, out, said = at_a_terminal(
        broker_address,
        tmp_path,
        "y\n",
        ["replay", "--reason", "MALFORMED_JSON"],
        lambda: told(broker_address, UPDATES, [(b"p-1", GOOD)]),
    )
    assert (code, out) == (1, "portfolio-updates/2/1 -> portfolio-updates/2/3\n"), said
    assert "portfolio-updates/2/0 is held back now: portfolio-updates/2/2 is a newer record" in said


def test_without_a_terminal_nothing_is_sent_unasked(run: Run, broker_address: str) -> None:
    set_aside(broker_address, UPDATES, [(b"p-1", b"{")])
    answer = run("replay", "portfolio-updates/2/0")
    assert answer.returncode == 2
    assert "--yes: is needed where there is no terminal" in answer.stderr
    assert len(stands_in(broker_address, UPDATES)) == 1


# --- what cannot be done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list", "--reason", "BAD_LUCK"], 2, "BAD_LUCK"),
        (["list", "--topic", "risk-updates"], 2, "risk-updates"),
        (["list", "--since", "yesterday"], 2, "--since: 'yesterday' is neither a duration like 2h"),
        (["list", "--since", "2999-01-01"], 2, "--since: 2999-01-01 has not come yet"),
        (["list", "--limit", "-1"], 2, "--limit"),
        (["show", "17"], 2, "SOURCE: '17' is not topic/partition/offset"),
        (["show", "portfolio-updates/2/17"], 1, "there is no dead letter of portfolio-updates/2/17"),
        (["show", "portfolio-updates/2/17", "--raw", "--json"], 2, "--raw: writes nothing but the bytes"),
        (["replay", "--yes"], 2, "say which records"),
        (["replay", "--topic", "market-data", "--yes"], 2, "say which records"),
        (["replay", "portfolio-updates/2/1", "--reason", "SCHEMA", "--yes"], 2, "either SOURCE or --reason"),
        (["replay", "portfolio-updates/2/1", "--since", "2h", "--yes"], 2, "either SOURCE or --reason"),
        (["replay", "portfolio-updates/2/1", "--yes"], 1, "there is no dead letter of portfolio-updates/2/1"),
        (["replay", "--reason", "SCHEMA", "--value", "f", "--yes"], 2, "--value: takes the place of one record"),
        (["replay", "a/0/1", "a/0/2", "--value", "f", "--yes"], 2, "--value: takes the place of one record"),
        (["replay", "a/0/1", "--value", "nowhere.json", "--yes"], 1, "nowhere.json: no such file"),
        (["replay", "a/0/1", "--value", os.devnull, "--yes"], 1, "0 bytes; a record has 1 to 1,000,000"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_an_exit_code(
    run: Run, arguments: list[str], code: int, said: str
) -> None:
    answer = run(*arguments)
    assert answer.returncode == code, answer.stderr
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_a_replay_of_a_reason_that_nothing_has_is_no_failure(run: Run) -> None:
    answer = run("replay", "--reason", "SCHEMA", "--yes")
    assert (answer.returncode, answer.stdout) == (0, "")
    assert "nothing to send. No dead letters: everything that arrived could be applied." in answer.stderr


# --- flags ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds_ago"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1d12h", 129_600), ("1w", 604_800)],
)
def test_since_takes_a_duration(text: str, seconds_ago: int) -> None:
    assert since_ns(text, 10**18) == 10**18 - seconds_ago * 10**9


def test_since_takes_a_time_in_utc_unless_it_says_otherwise() -> None:
    now_ns = 1_800_000_000 * 10**9
    assert since_ns("2026-01-31T12:00", now_ns) == 1_769_860_800 * 10**9
    assert since_ns("2026-01-31T12:00Z", now_ns) == since_ns("2026-01-31T13:00+01:00", now_ns)
    assert since_ns("2026-01-31", now_ns) == since_ns("2026-01-31T12:00", now_ns) - 12 * HOUR_NS


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "2y", "2h later", "2026-13-01"])
def test_since_takes_nothing_else(text: str) -> None:
    with pytest.raises(BadSetting, match="like 2h nor a time like"):
        since_ns(text, 10**18)


def test_the_topics_spelt_out_for_the_help_are_those_the_engine_reads() -> None:
    assert set(get_args(TopicName)) == set(KEYED_BY)


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["list", "show", "replay"])
def test_every_flag_is_in_the_docs(run: Run, command: str) -> None:
    text = (ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8")
    documented = text.partition(f"### plimsoll dead-letters {command}\n")[2].partition("\n##")[0]
    flags = set(re.findall(r"--[a-z-]+", run(command, "--help").stdout)) - {"--help"}
    assert len(flags) >= 2
    assert not [flag for flag in flags if not re.search(rf"`{flag}[` ]", documented)]


def test_the_runbook_says_what_to_do_about_every_reason() -> None:
    runbook = (ROOT / "docs" / "RUNBOOK.md").read_text(encoding="utf-8").replace("\\_", "_")
    assert not [reason for reason in Reason if f"| {reason} |" not in runbook]
