"""What lies beside a worker's recovery state and says whether it may be continued.

A recovery state is offsets and what was made of them. Both are worthless, and worse than nothing, beside another
cluster's log, a topic that was made anew, or under a program that keeps its state otherwise. Bytewax notices none of
that, and where its files are gone or a step has another name it starts from nothing in silence. So a `manifest.json`
remembers where the state comes from, and that there *is* one: then a start without it is refused instead of healthy
and wrong. Each refusal says what to do; `--rebuild` is the usual answer: the log is the truth, the state a shortcut.

The manifest is written whole under another name and renamed, so that no crash leaves half of one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.ledger import STATE_FORMAT
from engine.same_log import Log, differences
from plimsoll.errors import PlimsollError

log = logging.getLogger(__name__)

NAME = "manifest.json"
PARTS = "part-*.sqlite3"
_BOOK_STEP = "plimsoll.book"
"""What Bytewax files the book's states under: the name of the flow and of its step. With another one, raise
`STATE_FORMAT`."""
_OLD_NOTE, _OLD_FORMAT = "kafka-cluster", 1
"""What version 0.1 wrote instead, the cluster's id alone, and what its states would have been called."""
FREE_BYTES_LEAST = 1 << 20
SAVED_AFTER = 3
"""States handed to Bytewax before one of them is surely on disk. It says nothing when it has saved one, but it has
before it asks for the next but one."""

_SQLITE_LEAST = (3, 37, 0)
"""The first that knows Bytewax's STRICT tables; to an older one they look damaged."""

_State = TypeVar("_State")


class StateUnusable(PlimsollError):
    """The recovery state cannot be continued: lost, damaged, or of another program or log. Usually `--rebuild`."""

    lasting = True


class DirectoryUnusable(PlimsollError):
    """The recovery directory cannot be written to, is full, or is gone. Mend it and start again."""

    lasting = True


class Manifest(msgspec.Struct, frozen=True):
    """The contents of `manifest.json`."""

    format: int
    worker: str
    cluster: str
    topics: dict[str, str] = {}
    """Kafka's id of each topic; empty where the broker tells none."""
    committed: bool = False
    """Whether a state has been saved here: from then on its absence is a loss."""
    rebuilt: str | None = None
    """When an operator chose to build anew from what the log then held; None where nobody did."""


class Keeper:
    """The manifest of one worker's recovery directory, which exists and is locked."""

    def __init__(self, directory: Path, worker: str, rebuild: datetime | None = None) -> None:
        """Read it. With `rebuild`, the time, what lies here is set aside first, readable or not."""
        self._directory = directory
        self._worker = worker
        self._states = 0
        self.manifest: Manifest | None = None
        if rebuild is not None:
            self._set_aside(rebuild)
        self.manifest = self._read()

    def check(self, here: Log) -> None:
        """Compare with the log we are about to read, and with what lies here; then write down what we are.

        Raises `StateUnusable`, or `DirectoryUnusable` where nothing can be written.
        """
        _check_space(self._directory)
        self.judge(here)
        told = self.manifest
        holding = [part for part in self.parts() if self._check_part(part)]
        if not self.empty and not holding:
            raise self._lost("its files hold none")
        rebuilt = told.rebuilt if told else None
        topics = {**(told.topics if told else {}), **here.topics}
        self.write(Manifest(STATE_FORMAT, self._worker, here.cluster, topics, bool(holding), rebuilt))

    def judge(self, here: Log | None) -> None:
        """Whether what lies here may be continued, on this log where it is given. Changes nothing.

        Raises `StateUnusable` where it may not.
        """
        if (told := self.manifest) is None:
            return
        self._refuse_another(told, here)
        if told.committed and not self.parts():
            raise self._lost("its files are gone")

    def parts(self) -> list[Path]:
        """The files of the recovery store."""
        return sorted(self._directory.glob(PARTS))

    @property
    def empty(self) -> bool:
        """Whether there is no state to continue, so that the log will be read from its beginning."""
        return self.manifest is None or not self.manifest.committed

    @property
    def rebuilt(self) -> bool:
        """Whether an operator chose to build from what the log holds, complete or not."""
        return self.manifest is not None and self.manifest.rebuilt is not None

    def require_state(self, resume_state: _State | None) -> _State | None:
        """The state as Bytewax hands it over. Raises `StateUnusable` where there should be one and is none."""
        if resume_state is None and not self.empty:
            raise self._lost("its files hold none for this worker")
        return resume_state

    def saving(self) -> None:
        """A state is about to be handed over for saving."""
        self._states += 1
        if self._states == SAVED_AFTER and self.manifest is not None and not self.manifest.committed:
            self.write(msgspec.structs.replace(self.manifest, committed=True))

    def write(self, manifest: Manifest) -> None:
        """Replace `manifest.json` in one step. Raises `DirectoryUnusable`."""
        draft = self._directory / f"{NAME}.new"
        with _writing(self._directory):
            with draft.open("wb") as out:
                out.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
                out.flush()
                os.fsync(out.fileno())
            draft.rename(self._directory / NAME)
        self.manifest = manifest

    def _set_aside(self, now: datetime) -> None:
        """Move what lies here into a folder named by the time, and begin a state that is complete by decision."""
        kept = self._directory / f"set-aside-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        old = [*self._directory.glob("part-*"), *self._directory.glob(NAME), *self._directory.glob(_OLD_NOTE)]
        with _writing(self._directory):
            if old:
                kept.mkdir(exist_ok=True)
                for path in old:
                    path.rename(kept / path.name)
                log.warning("rebuilding from the log: the recovery state was set aside in %s", kept)
            # Without a cluster's name it fits any; `check` fills it in.
            self.write(Manifest(STATE_FORMAT, self._worker, "", rebuilt=now.isoformat()))

    def _read(self) -> Manifest | None:
        path, old = self._directory / NAME, self._directory / _OLD_NOTE
        try:
            if path.exists():
                return msgspec.json.decode(path.read_bytes(), type=Manifest)
            if old.exists():
                return Manifest(_OLD_FORMAT, self._worker, old.read_text(encoding="utf-8").strip())
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise StateUnusable(f"{path} cannot be read ({error}). {_REBUILD}") from None
        except OSError as error:
            raise DirectoryUnusable(f"{path} cannot be read: {error.strerror}. Mend it and start again") from None
        return None

    def _refuse_another(self, told: Manifest, here: Log | None) -> None:
        if told.format != STATE_FORMAT:
            raise StateUnusable(
                f"{self._directory} holds a recovery state of format {told.format}, and this program continues format "
                f"{STATE_FORMAT}. Start the version that wrote it, or add --rebuild once: the worker then reads the "
                "log anew"
            )
        if told.worker != self._worker:
            raise StateUnusable(
                f"{self._directory} holds the recovery state of worker {told.worker}, and this is {self._worker}: its "
                f"portfolios would be lost. Put it back where it was, or add --rebuild once"
            )
        if here is None or not told.cluster:
            return
        if reason := differences(Log(told.cluster, told.topics), here):
            raise StateUnusable(f"{self._directory} continues another log: {reason}. {_REBUILD}")

    def _check_part(self, part: Path) -> bool:
        """Have SQLite look at a file before Bytewax does: here it can be said what to do. Whether it holds a book."""
        try:
            return _holds_a_book(part)
        except sqlite3.Error as error:
            if not self.empty:
                raise StateUnusable(f"the recovery state {part} is damaged ({error}). {_REBUILD}") from None
            # Killed while it was being made: nothing has been saved in it, so nothing is lost with it.
            for path in self._directory.glob(f"{part.name}*"):
                path.unlink()
            return False

    def _lost(self, how: str) -> StateUnusable:
        return StateUnusable(
            f"the recovery state in {self._directory} is lost: {how}, though one was saved. Put it back from a copy "
            "(with its -wal file), or add --rebuild once: the worker then reads what the log still holds"
        )


_REBUILD = "Add --rebuild once: the state is set aside, and the worker reads what the log still holds"


def damage(error: BaseException) -> PlimsollError | None:
    """What a failure inside Bytewax says of the recovery store; None where it says nothing of it.

    It has no errors of its own for most of this: a panic's text quotes SQLite's code.
    """
    text = str(error)
    if isinstance(error, FileNotFoundError) and "recovery directory" in text:
        return DirectoryUnusable(
            "the recovery directory was deleted while the engine was running, or about to. Put it back from a copy, or "
            "start again with --rebuild"
        )
    if type(error).__name__ in ("NoPartitionsError", "MissingPartitionsError", "InconsistentPartitionsError"):
        return StateUnusable(f"the recovery state is incomplete ({text}). {_REBUILD}")
    if "SqliteFailure" not in text:
        return None
    if any(code in text for code in ("NotADatabase", "DatabaseCorrupt", "SchemaChanged")):
        return StateUnusable(f"the recovery state is damaged ({text}). {_REBUILD}")
    return DirectoryUnusable(
        f"the recovery state cannot be saved ({text}): make room, or give this user the right to write. Nothing is "
        "lost: the next start goes on from the last one saved"
    )


def _holds_a_book(part: Path) -> bool:
    """Whether a state of the book is in one of Bytewax's stores. Raises `sqlite3.Error` where it is none, or damaged.

    Here and not once it runs, because Bytewax has a copy of SQLite of its own: two in one process do not see each
    other's locks, and closing the one would drop those of the other.
    """
    if part.stat().st_size == 0:
        raise sqlite3.DatabaseError("the file is empty")
    if sqlite3.sqlite_version_info < _SQLITE_LEAST:
        return True
    with contextlib.closing(sqlite3.connect(part)) as store:
        found = store.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        return store.execute(_FINISHED, [_BOOK_STEP]).fetchone() is not None


_FINISHED = """
SELECT 1 FROM snaps WHERE step_id = ? AND snap_epoch < (
  SELECT min(worker_frontier) FROM fronts WHERE ex_num = (SELECT max(ex_num) FROM fronts)
) LIMIT 1
"""
"""A state of an epoch that was not finished is no state: Bytewax goes back to the one before, or to nothing."""


class Place:
    """Whether a directory and the files in it are still those that were there: one deleted lives on, out of reach."""

    def __init__(self, directory: Path) -> None:
        self._paths = [directory, *sorted(directory.glob(PARTS))]
        self._identities = self._now()

    def check(self) -> None:
        """Raises `DirectoryUnusable` where one of them was deleted, moved or replaced."""
        now = self._now()
        for path, identity in self._identities.items():
            if now[path] != identity:
                raise DirectoryUnusable(
                    f"{path} was {'deleted' if now[path] is None else 'replaced'} while the engine was running, so "
                    "nothing is saved any more. Put it back from a copy, or start again with --rebuild"
                )

    def _now(self) -> Mapping[Path, tuple[int, int] | None]:
        return {path: _identity(path) for path in self._paths}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_space(directory: Path) -> None:
    """Raises `DirectoryUnusable` unless twice the state's size can be written: it is saved anew beside the old one."""
    with _writing(directory):
        probe = directory / f"{NAME}.new"
        probe.write_bytes(b"{}")
        probe.unlink()
    size = sum(path.stat().st_size for path in directory.glob("part-*"))
    wanted, free = max(FREE_BYTES_LEAST, 2 * size), shutil.disk_usage(directory).free
    if free < wanted:
        raise DirectoryUnusable(
            f"{directory} has {free >> 10} KiB free, and the recovery state needs {wanted >> 10}: make room, or choose "
            "another --recovery-directory"
        )


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DirectoryUnusable(
            f"{directory} cannot be written to ({error.strerror}): make room or give this user the right to, or choose "
            "another --recovery-directory"
        ) from None
