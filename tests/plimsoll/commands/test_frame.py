"""A frame of `plimsoll top`: it says what is so, and fits whatever terminal there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plimsoll.commands.figures import figures
from plimsoll.commands.frame import Screen, frame
from plimsoll.commands.soundings.crew import crew_of
from plimsoll.commands.soundings.live import Firm, Held, Reading
from plimsoll.commands.soundings.store import Contents
from plimsoll.errors import Unavailable
from plimsoll.messages import Heartbeat, RiskSnapshot

AWAY = Unavailable("it", "nobody listens there")


@pytest.fixture
def held(beat: Callable[..., Heartbeat], snapshot: Callable[..., RiskSnapshot], now_ns: int) -> Held:
    beats = [beat(0, 2), beat(1, 2)]
    riskiest = [snapshot(f"portfolio-{99 - n:02}", risk_number=99 - n) for n in range(40)]
    return Held(Contents(beats, [], "set-1", True, 1234, 56, None), crew_of(beats, now_ns, 15), riskiest)


@pytest.fixture
def reading(held: Held, now_ns: int) -> Reading:
    return Reading(1.0, now_ns, held, Firm(1234, 5e9, 1e6, 7.5e7, 1.2e8, 64), {}, AWAY)


def drawn(reading: Reading, width: int = 80, height: int | None = 24, *, ascii_only: bool = False) -> list[str]:
    screen = Screen(width, height, ascii_only)
    lines = frame(reading, figures(None, reading), "127.0.0.1:6379", "http://127.0.0.1:6066", screen)
    return [line.plain for line in lines]


def test_a_frame_says_how_the_engine_the_firm_and_the_riskiest_are(reading: Reading) -> None:
    lines = drawn(reading, width=100)
    text = "\n".join(lines)
    assert "running   2 of 2 workers   set set-1   replay" in text
    assert "1,234 portfolios   56 at risk (number 70 or more)" in text
    assert "number 64  value 5,000,000,000  VaR 95% 75,000,000  ES 97.5% 120,000,000" in text
    assert "2 stale   4 dead" in text
    assert "none at http://127.0.0.1:6066 (nobody listens there)" in text
    first = next(line for line in lines if line.startswith("portfolio-99"))
    assert first.split() == ["portfolio-99", "advisor-1", "99", "█" * 10, "12,346", "1.23%", "1,000,000"]
    assert len(lines) == 24


# A frame is drawn from a reading and changes nothing of it.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(width=st.integers(1, 200), height=st.integers(1, 60), ascii_only=st.booleans())
def test_no_terminal_is_too_small(width: int, height: int, ascii_only: bool, reading: Reading) -> None:
    lines = drawn(reading, width, height, ascii_only=ascii_only)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert not ascii_only or all(line.isascii() for line in lines)


def test_without_a_terminal_a_frame_is_as_long_as_there_is_to_say(reading: Reading) -> None:
    assert sum(line.startswith("portfolio-") for line in drawn(reading, 120, None)) == 40


def test_while_redis_is_away_it_says_so_and_nothing_else(reading: Reading) -> None:
    lines = drawn(replace(reading, held=AWAY))
    assert lines[1] == "redis     away: nobody listens there; asked again until it is back"
    assert len(lines) == 3


def test_a_silent_engine_and_a_missing_worker_are_said(
    reading: Reading, held: Held, beat: Callable[..., Heartbeat], now_ns: int
) -> None:
    def engine(*beats: Heartbeat) -> str:
        crew = crew_of(beats, now_ns, 15)
        return drawn(replace(reading, held=Held(held.contents, crew, [])))[1]

    assert engine(beat(age=33)) == "engine    silent for 33 s: these are its last words"
    assert "incomplete   1 of 2 workers   missing: 1" in engine(beat(0, 2), beat(1, 2, age=99))
    assert "never seen" in engine()


def test_a_name_cannot_give_the_terminal_orders(
    reading: Reading, held: Held, snapshot: Callable[..., RiskSnapshot]
) -> None:
    hostile = replace(held, riskiest=[snapshot("\x1b[2J\x1b]0;owned\x07")])
    assert not any("\x1b" in line or "\x07" in line for line in drawn(replace(reading, held=hostile)))


def test_a_portfolio_without_a_number_has_a_dash(
    reading: Reading, held: Held, snapshot: Callable[..., RiskSnapshot]
) -> None:
    unnumbered = replace(held, riskiest=[snapshot("p-1", risk_number=None, var_95_fraction=None)])
    line = next(line for line in drawn(replace(reading, held=unnumbered)) if line.startswith("p-1"))
    assert line.split()[2:] == ["-", "░" * 10, "12,346", "-"]
