"""A child is ended by its number, with all it started, and its last words can be read."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.child import Child, stop_all

IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
STARTS_ANOTHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session={own_session})
print(child.pid, flush=True)
time.sleep({seconds})
"""


def start(code: str, log: Path) -> Child:
    return Child.start("test", [sys.executable, "-c", code], environ=os.environ, log=log)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has reaped yet is no longer running.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return not sys.platform.startswith("linux")
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_says_how_it_ended_and_what_it_said_last(tmp_path: Path) -> None:
    child = start("import sys; print('\\n'.join(map(str, range(100)))); sys.exit(3)", tmp_path / "log")

    assert child.wait(10)
    assert child.exit_code() == 3
    assert child.tail(2) == "98\n99"


def test_it_finds_no_more_in_its_environment_than_it_was_given(tmp_path: Path) -> None:
    code = "import os; print(sorted(os.environ.keys() - {'LC_CTYPE'}))"
    child = Child.start("test", [sys.executable, "-c", code], environ={"GIVEN": "1"}, log=tmp_path / "log")

    assert child.wait(10)
    assert child.tail() == "['GIVEN']"


def test_a_ctrl_c_in_our_terminal_does_not_reach_it(tmp_path: Path) -> None:
    child = start("import time; time.sleep(60)", tmp_path / "log")

    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    child.stop()


def test_one_that_is_deaf_is_killed_when_its_time_is_up(tmp_path: Path) -> None:
    child = start(IGNORES_SIGTERM, tmp_path / "log")
    wait_until(lambda: child.tail() == "deaf")

    assert child.stop(0.1) == -signal.SIGKILL
    assert child.stop(0.1) == -signal.SIGKILL, "stopping again changes nothing"


def test_all_are_asked_at_once_and_only_the_deaf_are_named(tmp_path: Path) -> None:
    deaf = start(IGNORES_SIGTERM, tmp_path / "deaf")
    deaf.name = "deaf"
    willing = start("import time; time.sleep(60)", tmp_path / "willing")
    wait_until(lambda: deaf.tail() == "deaf")

    assert stop_all([deaf, willing], 3.0) == ["deaf"]
    assert willing.exit_code() == -signal.SIGTERM


def test_in_a_hurry_nobody_is_waited_for(tmp_path: Path) -> None:
    deaf = start(IGNORES_SIGTERM, tmp_path / "log")
    wait_until(lambda: deaf.tail() == "deaf")

    began = time.monotonic()
    stop_all([deaf], 30.0, hurry=lambda: True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("own_session", [False, True])
def test_killing_it_ends_what_it_started(tmp_path: Path, *, own_session: bool) -> None:
    child = start(STARTS_ANOTHER.format(own_session=own_session, seconds=60), tmp_path / "log")
    wait_until(child.tail)
    grandchild = int(child.tail())

    child.kill()
    assert child.wait(10)
    wait_until(lambda: not runs(grandchild))


def test_what_it_leaves_behind_in_its_group_ends_with_it(tmp_path: Path) -> None:
    child = start(STARTS_ANOTHER.format(own_session=False, seconds=0), tmp_path / "log")

    assert child.wait(10)
    grandchild = int(child.tail())
    wait_until(lambda: not runs(grandchild))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent has died")
def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    parent = start(
        f"""
import os, sys, time
from pathlib import Path
from embedded.child import Child
sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
print(Child.start("sleeper", sleeper, environ=os.environ, log=Path({str(tmp_path / "sleeper")!r})).pid, flush=True)
time.sleep(60)
""",
        tmp_path / "log",
    )
    wait_until(parent.tail)
    grandchild = int(parent.tail())
    assert runs(grandchild)

    os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not runs(grandchild))
    parent.stop()
