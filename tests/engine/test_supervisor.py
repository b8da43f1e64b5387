from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from engine import supervisor
from engine.drain import Drain
from engine.supervisor import supervise, worker_command

STARTED = "import pathlib, signal, sys, time; pathlib.Path(sys.argv[1]).open('a').write('x')\n"
LIVES = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0))\n" + STARTED + "time.sleep(60)"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN)\n" + STARTED + "time.sleep(60)"
DIES = STARTED + "sys.exit(7)"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_BASE_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "PATIENCE_SECONDS", 0.5)


def starts(path: Path) -> int:
    return len(path.read_text()) if path.exists() else 0


def ask_when(drain: Drain, paths: list[Path]) -> threading.Thread:
    def wait() -> None:
        deadline = time.monotonic() + 20
        while not all(starts(path) for path in paths) and time.monotonic() < deadline:
            time.sleep(0.01)
        drain.ask()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_every_worker_is_started_and_drained(tmp_path: Path) -> None:
    paths, drain = [tmp_path / "0", tmp_path / "1"], Drain()
    thread = ask_when(drain, paths)
    code = supervise(lambda index: [sys.executable, "-c", LIVES, str(paths[index])], 2, drain)
    thread.join()
    assert (code, [starts(path) for path in paths]) == (0, [1, 1])


def test_a_worker_that_keeps_dying_ends_the_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = [tmp_path / "0", tmp_path / "1"]
    code = supervise(lambda index: [sys.executable, "-c", (LIVES, DIES)[index], str(paths[index])], 2, Drain())
    assert code == 1
    assert [starts(path) for path in paths] == [1, supervisor.DEATHS_MAX]
    assert "worker 1 died 5 times (last exit code 7)" in caplog.text


def test_a_worker_that_does_not_drain_is_killed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    path, drain = tmp_path / "0", Drain()
    thread = ask_when(drain, [path])
    assert supervise(lambda _: [sys.executable, "-c", STUBBORN, str(path)], 1, drain) == 1
    thread.join()


def test_a_worker_is_this_program_with_its_index() -> None:
    command = worker_command(["--workers", "2"])
    assert command(1)[1:] == ["-P", "-m", "engine", "--workers", "2", "--worker-index", "1"]
