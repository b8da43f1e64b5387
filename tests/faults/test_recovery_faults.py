"""The recovery directory: full, corrupt, gone, half gone, claimed twice. The log is the truth; this only saves time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from load import Plan
from rig import REFUSED, Rig, kill

ALONE = ("--workers", "1", "--worker-index", "0")
"""The worker itself, without a supervisor that would start it again."""
FILE_SIZE_MAX = 192 * 1024
"""Enough for a recovery store without a state in it, and for the log; not for the state of these portfolios."""
NO_SPACE = ("disk i/o error", "disk is full", "file too large", "no space left")
"""What SQLite and the system say of it; whatever the engine says besides, one of these names the cause."""
REMEDIES = ("--rebuild", "empty recovery directory", "empty --recovery-directory", "another --recovery-directory")


@pytest.fixture
def saved(rig: Rig) -> Path:
    """A recovery directory that an engine has left, and from which it was killed: everything is as it fell."""
    rig.opened(Plan(rig.seed, portfolios=200))
    rig.watch()
    engine = rig.engine(*ALONE)
    rig.running(engine)
    directory = rig.directory / "recovery" / "worker-0-of-1"
    manifest = directory / "manifest.json"
    rig.until(lambda: '"committed": true' in manifest.read_text(), "recovery state on disk")
    kill(engine.pid)
    engine.ended()
    assert (directory / "part-0.sqlite3").exists(), sorted(directory.iterdir())
    return directory


def test_a_full_disk_ends_the_engine_and_space_is_all_it_takes(rig: Rig) -> None:
    sender = rig.opened(Plan(rig.seed, portfolios=200, rate=500.0))
    rig.watch()
    engine = rig.engine(*ALONE, file_size_max=FILE_SIZE_MAX)
    sender.start()
    assert engine.ended(30.0) not in (0, None), rig.logs()
    said = engine.log().lower()
    assert any(words in said for words in NO_SPACE), said[-3_000:]
    sender.stop()
    rig.running(rig.engine(*ALONE))
    rig.holds()


def test_a_corrupt_state_is_refused_with_the_remedy_which_works(rig: Rig, saved: Path) -> None:
    for part in saved.glob("part-0.sqlite3*"):
        part.write_bytes(b"not what it was " * 4096)
    engine = rig.engine(*ALONE)
    assert engine.ended() == REFUSED, rig.logs()
    assert str(saved) in engine.log()
    assert any(remedy in engine.log() for remedy in REMEDIES), rig.logs()
    rig.running(rig.engine(*ALONE, "--rebuild"))
    rig.holds()


def test_a_directory_deleted_while_stopped_is_an_ordinary_rebuild(rig: Rig, saved: Path) -> None:
    shutil.rmtree(saved)
    engine = rig.engine(*ALONE)
    rig.running(engine)
    rig.holds()
    assert engine.stopped()[0] == 0


def test_a_directory_as_it_fell_is_continued(rig: Rig, saved: Path) -> None:
    rig.running(rig.engine(*ALONE))
    rig.holds()


def test_a_state_whose_newest_part_is_gone_is_refused(rig: Rig, saved: Path) -> None:
    """Without its write-ahead log the store is a valid, empty one: the engine would start from nothing in silence."""
    for part in (*saved.glob("*-wal"), *saved.glob("*-shm")):
        part.unlink()
    engine = rig.engine(*ALONE)
    assert engine.ended() == REFUSED, rig.logs()
    assert any(remedy in engine.log() for remedy in REMEDIES), rig.logs()
    rig.running(rig.engine(*ALONE, "--rebuild"))
    rig.holds()


def test_a_directory_deleted_under_a_running_engine_ends_it(rig: Rig) -> None:
    rig.opened()
    rig.watch()
    engine = rig.engine(*ALONE)
    rig.running(engine)
    shutil.rmtree(rig.directory / "recovery")
    assert engine.ended(20.0) != 0
    assert "recovery" in engine.child.tail(5)
    rig.running(rig.engine(*ALONE))
    rig.holds()


def test_a_second_engine_on_a_directory_is_refused_and_does_the_first_no_harm(rig: Rig) -> None:
    sender = rig.opened(Plan(rig.seed, rate=500.0))
    rig.watch()
    first = rig.engine()
    rig.running(first)
    sender.start()
    second = rig.engine(*ALONE)
    assert second.ended(30.0) != 0
    assert "in use by another engine" in second.log()
    (worker,) = first.workers()
    rig.publishes()
    sender.stop()
    rig.holds()
    assert first.workers() == [worker], "the first engine's worker was started anew: the second fenced or broke it"
    assert first.stopped()[0] == 0
