"""Log lines: one JSON object each, whatever is in them."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll import logs
from plimsoll.logs import AtMostEvery, JsonLine


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def record(message: str, created: float = 1_700_000_000.25, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "engine", "levelno": logging.INFO, "levelname": "INFO", "msg": message})
    made.created = created
    made.__dict__ |= extra
    return made


def test_a_line_by_hand() -> None:
    line = JsonLine().format(record("worker drained", source="market-data/0/7"))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "info",
        "logger": "engine",
        "message": "worker drained",
        "source": "market-data/0/7",
    }


@given(message=st.text(st.characters(exclude_categories=["Cs"])), extra=st.text())
def test_a_line_stays_one_line_whatever_is_in_it(message: str, extra: str) -> None:
    line = JsonLine().format(record(message, source=extra))
    assert "\n" not in line
    assert "\r" not in line
    assert json.loads(line)["message"] == message


def test_a_traceback_is_a_field() -> None:
    try:
        raise LookupError("no such portfolio")
    except LookupError:
        made = record("failed", exc_info=sys.exc_info())
    told = json.loads(JsonLine().format(made))
    assert told["exception"].endswith("LookupError: no such portfolio")


def test_what_json_does_not_know_is_told_as_text() -> None:
    assert json.loads(JsonLine().format(record("x", key=b"\xff")))["key"] == "b'\\xff'"


def test_the_level_decides_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("WARNING")
    logging.getLogger("engine").info("quiet")
    logging.getLogger("engine").warning("loud")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["loud"]


def test_configuring_twice_does_not_say_everything_twice(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO")
    logs.configure("INFO")
    logging.getLogger("engine").info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_repeats_is_said_once_an_interval_with_how_often_it_was_held_back() -> None:
    throttle = AtMostEvery(seconds=5.0)
    lines = [record("broker is down", created=at) for at in (0.0, 1.0, 4.9, 5.0, 6.0, 11.0)]
    passed = [line for line in lines if throttle.filter(line)]
    assert [(line.created, line.__dict__["held_back"]) for line in passed] == [(0.0, 0), (5.0, 2), (11.0, 1)]


def test_several_lines_an_interval_may_pass() -> None:
    throttle = AtMostEvery(seconds=1.0, lines=2)
    lines = [record("away", created=at) for at in (0.0, 0.1, 0.2, 0.3, 1.0, 1.1, 1.2)]
    passed = [line for line in lines if throttle.filter(line)]
    assert [(line.created, line.__dict__["held_back"]) for line in passed] == [(0.0, 0), (0.1, 0), (1.0, 2), (1.1, 0)]


def test_a_line_carries_what_its_task_does_and_no_other() -> None:
    def said() -> dict[str, object]:
        told: dict[str, object] = json.loads(JsonLine().format(record("x")))
        return told

    def in_a_request() -> dict[str, object]:
        logs.CONTEXT.set({"request_id": "mine"})
        return said()

    assert contextvars.copy_context().run(in_a_request)["request_id"] == "mine"
    assert "request_id" not in said()


# --- secrets ----------------------------------------------------------------------------------------------------------

SECRET = "correct-horse"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{SECRET}@store:6379/0",
        f"rediss://:{SECRET}@store:6379/0",
        f"redis://user:sl/ash-{SECRET}@store/0",
        f"redis://user:at@{SECRET}@store/0",
        f'redis://user:quo"te-{SECRET}@store/0',
        f"redis://user:back\\slash-{SECRET}@store/0",
        f"http://{SECRET}@collector:4318",
    ],
)
def test_a_password_in_a_url_is_struck_out_wherever_it_is(url: str) -> None:
    try:
        raise LookupError(f"cannot reach {url}")
    except LookupError:
        made = record(f"{url} is away: {url}", exc_info=sys.exc_info(), where=url, more={"nested": [url]})
    line = JsonLine().format(made)
    assert SECRET not in line
    told = json.loads(line)
    assert told["message"].count("://[redacted]@") == 2
    assert "store" in line or "collector" in line


def test_what_is_no_secret_stays() -> None:
    said = "GET http://127.0.0.1:6066/live, and mail somebody@example.com about redis://store:6379/0"
    assert logs.redacted(said) == said


def test_striking_out_takes_no_longer_for_a_text_made_to_last() -> None:
    began = time.perf_counter()
    logs.redacted("a://" * 50_000)
    assert time.perf_counter() - began < 5
