"""Who is started again, after what pause, and when everything is stopped instead."""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from engine import supervisor
from engine.drain import Drain
from engine.pulse import Position, Pulse
from engine.supervisor import Death, Fate, GiveUp, Restart, silence, supervise, worker_command

HERE = Position("portfolio-updates", 3, 41)
KILLED = -signal.SIGKILL

# --- what a death means -----------------------------------------------------------------------------------------------


def test_a_worker_that_got_somewhere_is_started_again_at_once_however_often() -> None:
    fate = Fate()
    verdicts = [fate.after(Death(KILLED, HERE._replace(offset=n), progress=1), 0.5) for n in range(100)]
    assert verdicts == [Restart(supervisor.PAUSE_BASE_SECONDS)] * 100


def test_kills_between_two_batches_blame_no_record() -> None:
    fate = Fate()
    assert {type(fate.after(Death(KILLED, None, progress=1), 0.5)) for _ in range(20)} == {Restart}


def test_a_worker_that_gets_nowhere_waits_twice_as_long_each_time_and_not_for_ever() -> None:
    fate = Fate()
    verdicts = [fate.after(Death(1, None, progress=0), chance=1.0) for _ in range(10)]
    pauses = [each.pause_seconds for each in verdicts if isinstance(each, Restart)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    last = verdicts[-1]
    assert isinstance(last, GiveUp)
    assert (last.code, "10 times in a row" in last.reason) == (1, True)


def test_chance_spreads_the_pauses() -> None:
    assert Fate().after(Death(1, None, 0), chance=0.0) == Restart(0.25)
    assert Fate().after(Death(1, None, 0), chance=1.0) == Restart(0.5)


def test_progress_makes_earlier_failures_forgotten() -> None:
    fate = Fate()
    for _ in range(5):
        fate.after(Death(1, None, 0), 1.0)
    fate.after(Death(1, None, 1), 1.0)
    assert fate.after(Death(1, None, 0), 1.0) == Restart(0.5)


@pytest.mark.parametrize("progress", [0, 7])
def test_a_record_that_kills_three_times_ends_the_whole_and_is_named(progress: int) -> None:
    fate = Fate()
    assert isinstance(fate.after(Death(-11, HERE, progress), 0.5), Restart)
    assert isinstance(fate.after(Death(-11, HERE, progress), 0.5), Restart)
    verdict = fate.after(Death(-11, HERE, progress), 0.5)
    assert isinstance(verdict, GiveUp)
    assert verdict.code == 1
    assert "topic portfolio-updates, partition 3, offset 41" in verdict.reason
    assert "publish its key again" in verdict.reason


def test_a_start_that_failed_in_between_does_not_clear_a_record() -> None:
    fate = Fate()
    verdicts = [fate.after(death, 0.5) for death in (Death(1, HERE, 0), Death(1, None, 0), Death(1, HERE, 0))]
    assert not any(isinstance(each, GiveUp) for each in verdicts)
    assert isinstance(fate.after(Death(1, HERE, 0), 0.5), GiveUp)


def test_progress_beyond_a_record_clears_it() -> None:
    fate = Fate()
    for death in (Death(1, HERE, 1), Death(1, HERE, 1), Death(KILLED, None, 1), Death(1, HERE, 1), Death(1, HERE, 1)):
        assert isinstance(fate.after(death, 0.5), Restart)


@pytest.mark.parametrize("code", [2, 4, 5])
def test_what_cannot_pass_is_not_tried_again(code: int) -> None:
    verdict = Fate().after(Death(code, None, 1), 0.5)
    assert isinstance(verdict, GiveUp)
    assert verdict.code == code


# --- silence ----------------------------------------------------------------------------------------------------------


def pulse_at(seconds: float, *, flowing: bool) -> Pulse:
    pulse = Pulse.create(monotonic_ns=lambda: int(seconds * 1e9))
    if flowing:
        pulse.turned()
    else:
        pulse.starting()
    return pulse


@pytest.mark.parametrize(
    ("flowing", "heard_at_least", "now", "expected"),
    [
        (True, 50.0, 110.0, None),
        (True, 50.0, 110.5, 10.5),
        (True, 105.0, 110.5, None),  # we ourselves stood still until 105
        (False, 50.0, 159.0, None),
        (False, 50.0, 161.0, 61.0),
    ],
)
def test_a_flow_may_be_silent_for_ten_seconds_and_a_start_for_sixty(
    flowing: bool, heard_at_least: float, now: float, expected: float | None
) -> None:
    pulse = pulse_at(100.0, flowing=flowing)
    assert silence(pulse, heard_at_least, now) == expected
    pulse.close()


def test_one_that_never_gave_a_sign_is_judged_by_its_start() -> None:
    pulse = Pulse.create()
    assert silence(pulse, 100.0, 159.0) is None
    assert silence(pulse, 100.0, 161.0) == 61.0
    pulse.close()


# --- real processes ---------------------------------------------------------------------------------------------------

PROLOGUE = """
import os, pathlib, signal, sys, time
from engine.pulse import Pulse
pulse = Pulse(int(sys.argv[2]))
pulse.turned()
pathlib.Path(sys.argv[1]).open("a").write("F" if sys.argv[3] == "True" else "x")
"""
LIVES = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0))\n" + PROLOGUE + "time.sleep(60)"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN)\n" + PROLOGUE + "time.sleep(60)"
DIES = PROLOGUE + "sys.exit(7)"
GETS_SOMEWHERE = LIVES.replace(
    "time.sleep(60)",
    "pulse.progressed()\nif pathlib.Path(sys.argv[1]).stat().st_size <= 20: os.kill(os.getpid(), 9)\ntime.sleep(60)",
)
"""Twenty times it is killed; then it lives."""
POISONED = PROLOGUE + "pulse.progressed(); pulse.reading('portfolio-updates', 3, 41); os.kill(os.getpid(), 11)"
WHEN_THE_OTHER_LIVES = PROLOGUE + "while not pathlib.Path(sys.argv[1]).with_name('0').exists(): time.sleep(0.01)\n"
CANNOT_GO_ON = WHEN_THE_OTHER_LIVES + "sys.exit(4)"
SUPERSEDED = WHEN_THE_OTHER_LIVES + "sys.exit(5)"
STOPPED = (
    "import os, pathlib, sys\npathlib.Path(sys.argv[1] + '.pid').write_text(str(os.getpid()))\n"
    + PROLOGUE
    + "os.kill(os.getpid(), signal.SIGSTOP)"
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_BASE_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS_MAX", 0.05)
    monkeypatch.setattr(supervisor, "SILENCE_SECONDS_MAX", 60.0)  # What lives here turns its pulse once and sleeps.


@pytest.fixture
def ungentle(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PATIENCE_SECONDS", 0.5)


def starts(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def programs(tmp_path: Path, *sources: str) -> tuple[list[Path], Callable[[int, int, bool], Sequence[str]]]:
    """A file for each worker that gets a letter at each of its starts, and the command that starts it."""
    paths = [tmp_path / str(index) for index in range(len(sources))]

    def command(index: int, descriptor: int, first: bool) -> Sequence[str]:
        return [sys.executable, "-c", sources[index], str(paths[index]), str(descriptor), str(first)]

    return paths, command


def stands_still(path: Path) -> bool:
    """Whether STOPPED has stopped itself."""
    pid = path.with_name(f"{path.name}.pid")
    with suppress(OSError):
        return Path(f"/proc/{pid.read_text()}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def ask_when(drain: Drain, condition: Callable[[], bool], seconds: float = 20.0) -> threading.Thread:
    """Ask for a stop once the condition holds, or the time is over: then the assertions that follow tell."""

    def wait() -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        drain.ask()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.usefixtures("impatient")
def test_every_worker_is_started_and_drained(tmp_path: Path) -> None:
    paths, command = programs(tmp_path, LIVES, LIVES)
    drain = Drain()
    thread = ask_when(drain, lambda: all(starts(path) for path in paths))
    code = supervise(command, 2, drain)
    thread.join()
    assert (code, [starts(path) for path in paths]) == (0, ["F", "F"])


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_keeps_dying_ends_the_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths, command = programs(tmp_path, LIVES, DIES)
    assert supervise(command, 2, Drain()) == 1
    assert [starts(path) for path in paths] == ["F", "F" + "x" * (supervisor.DEATHS_WITHOUT_PROGRESS_MAX - 1)]
    assert "worker 1: stopped for good: it died 10 times in a row" in caplog.text


@pytest.mark.usefixtures("impatient")
def test_twenty_kills_of_a_worker_that_works_stop_nothing(tmp_path: Path) -> None:
    (path,), command = programs(tmp_path, GETS_SOMEWHERE)
    drain = Drain()
    thread = ask_when(drain, lambda: len(starts(path)) >= 21, seconds=60)
    assert supervise(command, 1, drain) == 0
    thread.join()
    assert starts(path).startswith("F" + "x" * 20)


@pytest.mark.usefixtures("impatient")
def test_a_record_that_kills_is_named_in_the_last_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths, command = programs(tmp_path, LIVES, POISONED)
    assert supervise(command, 2, Drain()) == 1
    assert [starts(path) for path in paths] == ["F", "Fxx"]
    last = caplog.records[-1].getMessage()
    assert "worker 1: stopped for good" in last
    assert "topic portfolio-updates, partition 3, offset 41" in last


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("source", "code"), [(CANNOT_GO_ON, 4), (SUPERSEDED, 5)])
def test_what_cannot_pass_ends_the_whole_with_the_workers_own_code(tmp_path: Path, source: str, code: int) -> None:
    paths, command = programs(tmp_path, LIVES, source)
    assert supervise(command, 2, Drain()) == code
    assert [starts(path) for path in paths] == ["F", "F"]


@pytest.mark.usefixtures("ungentle")
def test_a_worker_that_gives_no_sign_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "SILENCE_SECONDS_MAX", 0.3)
    (path,), command = programs(tmp_path, STOPPED)
    drain = Drain()
    thread = ask_when(drain, lambda: len(starts(path)) >= 2)
    supervise(command, 1, drain)
    thread.join()
    assert len(starts(path)) >= 2
    assert re.search(r"worker 0 has given no sign for \d+\.\d", caplog.text)


@pytest.mark.usefixtures("ungentle")
def test_a_worker_that_does_not_drain_is_killed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    (path,), command = programs(tmp_path, STUBBORN)
    drain = Drain()
    thread = ask_when(drain, lambda: bool(starts(path)))
    assert supervise(command, 1, drain) == 1
    thread.join()


@pytest.mark.usefixtures("ungentle")
def test_a_worker_that_was_suspended_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    (path,), command = programs(tmp_path, STOPPED)
    drain = Drain()
    thread = ask_when(drain, lambda: stands_still(path))
    began = time.monotonic()
    assert supervise(command, 1, drain) == 1
    thread.join()
    assert time.monotonic() - began < 10


# --- the command ------------------------------------------------------------------------------------------------------


def test_a_worker_is_this_program_with_its_index_and_its_pulse() -> None:
    command = worker_command(["--workers", "2"], only_first=["--rebuild"])
    own = ["--worker-index", "1", "--pulse", "7"]
    assert command(1, 7, True)[1:] == ["-P", "-m", "engine", "--workers", "2", "--rebuild", *own]
    assert command(1, 7, False)[1:] == ["-P", "-m", "engine", "--workers", "2", *own]
