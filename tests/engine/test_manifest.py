"""Whether a recovery directory may be continued, and what is said where it may not."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from bytewax.recovery import init_db_dir
from bytewax.testing import TestingSink, TestingSource

from engine import manifest
from engine.flow import build_flow
from engine.ledger import STATE_FORMAT
from engine.manifest import DirectoryUnusable, Keeper, Place, StateUnusable, damage
from engine.same_log import Log

HERE = Log("cluster-a", {"market-data": "id-1"})
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def checked(directory: Path, log: Log = HERE, worker: str = "0/1", rebuild: datetime | None = None) -> Keeper:
    keeper = Keeper(directory, worker, rebuild)
    keeper.check(log)
    if not keeper.parts():
        init_db_dir(directory, 1)
    return keeper


def save(directory: Path, step: str = "plimsoll.book", frontier: int = 2) -> None:
    """Put a state of epoch 1 into the store, as Bytewax does; the epoch is finished once its frontier is beyond."""
    with contextlib.closing(sqlite3.connect(directory / "part-0.sqlite3")) as store, store:
        store.execute("INSERT INTO snaps (step_id, state_key, snap_epoch) VALUES (?, '0/1', 1)", [step])
        store.execute("INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (0, 0, ?)", [frontier])


def committed(directory: Path, step: str = "plimsoll.book") -> Keeper:
    keeper = checked(directory)
    save(directory, step)
    for _ in range(manifest.SAVED_AFTER):
        keeper.saving()
    return keeper


def test_a_new_directory_is_empty_and_may_be_continued(tmp_path: Path) -> None:
    keeper = checked(tmp_path)
    assert keeper.empty
    assert keeper.require_state(None) is None
    again = checked(tmp_path)
    assert again.empty
    assert again.manifest == keeper.manifest


def test_once_a_state_was_surely_saved_its_absence_is_a_loss(tmp_path: Path) -> None:
    keeper = checked(tmp_path)
    for _ in range(manifest.SAVED_AFTER - 1):
        keeper.saving()
    assert checked(tmp_path).empty, "a state that may not be on disk yet must not be missed"
    save(tmp_path)
    keeper.saving()
    again = checked(tmp_path)
    assert not again.empty
    assert again.require_state({"book": 1}) == {"book": 1}
    with pytest.raises(StateUnusable, match=r"is lost: its files hold none for this worker.*--rebuild"):
        again.require_state(None)


@pytest.mark.parametrize("left", [[], ["part-0.sqlite3-wal"]])
def test_files_that_are_gone_are_missed(tmp_path: Path, left: list[str]) -> None:
    committed(tmp_path)
    for path in tmp_path.glob("part-*"):
        path.unlink()
    for name in left:
        (tmp_path / name).touch()
    with pytest.raises(StateUnusable, match="is lost: its files are gone"):
        checked(tmp_path)


def test_a_state_that_is_filed_under_another_step_is_missed(tmp_path: Path) -> None:
    committed(tmp_path, step="plimsoll.positions")
    with pytest.raises(StateUnusable, match="is lost: its files hold none"):
        checked(tmp_path)


def test_the_step_is_the_one_of_the_flow() -> None:
    flow = build_flow("0/1", TestingSource([]), lambda _: None, TestingSink([]), TestingSink([]))
    assert manifest._BOOK_STEP in {step.step_id for step in flow.substeps}


def truncated(part: Path) -> None:
    os.truncate(part, part.stat().st_size // 2)


def emptied(part: Path) -> None:
    part.write_bytes(b"")


def overwritten(part: Path) -> None:
    part.write_bytes(b"garbage" * 1_000)


def of_something_else(part: Path) -> None:
    part.unlink()
    with sqlite3.connect(part) as store:
        store.execute("CREATE TABLE other (x)")


@pytest.mark.parametrize("broken", [truncated, emptied, overwritten, of_something_else])
def test_a_damaged_store_is_named_with_the_remedy(tmp_path: Path, broken: object) -> None:
    committed(tmp_path)
    assert callable(broken)
    broken(tmp_path / "part-0.sqlite3")
    with pytest.raises(StateUnusable, match=r"part-0\.sqlite3 is damaged \(.*--rebuild") as refused:
        checked(tmp_path)
    assert refused.value.exit_code == 4


def test_a_store_that_was_never_finished_is_made_anew(tmp_path: Path) -> None:
    keeper = checked(tmp_path)
    emptied(tmp_path / "part-0.sqlite3")
    keeper.check(HERE)
    assert keeper.parts() == []


def test_a_state_that_is_found_counts_as_saved_however_young(tmp_path: Path) -> None:
    checked(tmp_path)
    save(tmp_path)
    assert not checked(tmp_path).empty


class Other(NamedTuple):
    log: Log
    worker: str
    said: str


@pytest.mark.parametrize(
    "other",
    [
        Other(Log("cluster-b"), "0/1", "that of Kafka cluster cluster-a, and this is cluster-b"),
        Other(Log("cluster-a", {"market-data": "id-2"}), "0/1", "topic market-data was deleted and made anew"),
        Other(HERE, "1/2", "recovery state of worker 0/1, and this is 1/2"),
    ],
)
def test_a_state_of_something_else_is_refused_and_stays_as_it_is(tmp_path: Path, other: Other) -> None:
    committed(tmp_path)
    before = (tmp_path / manifest.NAME).read_bytes()
    with pytest.raises(StateUnusable, match=f"{other.said}.*--rebuild"):
        checked(tmp_path, other.log, other.worker)
    assert (tmp_path / manifest.NAME).read_bytes() == before


def test_a_state_whose_epoch_was_not_finished_is_none(tmp_path: Path) -> None:
    checked(tmp_path)
    save(tmp_path, frontier=1)
    assert checked(tmp_path).require_state(None) is None


def test_a_state_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(tmp_path)
    monkeypatch.setattr(manifest, "STATE_FORMAT", 99)
    with pytest.raises(
        StateUnusable, match=rf"of format {STATE_FORMAT}, and this program continues format 99.*--rebuild"
    ):
        checked(tmp_path)


def test_a_broker_that_tells_no_ids_does_not_make_them_forgotten(tmp_path: Path) -> None:
    committed(tmp_path)
    checked(tmp_path, Log("cluster-a"))
    with pytest.raises(StateUnusable, match="market-data"):
        checked(tmp_path, Log("cluster-a", {"market-data": "id-2"}))


def test_a_directory_of_an_older_version_is_refused_and_can_be_set_aside(tmp_path: Path) -> None:
    init_db_dir(tmp_path, 1)
    save(tmp_path)
    (tmp_path / "kafka-cluster").write_text("cluster-a", encoding="utf-8")
    with pytest.raises(StateUnusable, match=r"of format 1, .*--rebuild"):
        checked(tmp_path)
    assert checked(tmp_path, rebuild=NOW).empty


def test_a_manifest_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    committed(tmp_path)
    (tmp_path / manifest.NAME).write_text('{"format": 1, "wor', encoding="utf-8")
    with pytest.raises(StateUnusable, match=r"manifest\.json cannot be read.*--rebuild"):
        checked(tmp_path)
    assert checked(tmp_path, rebuild=NOW).rebuilt


def test_a_rebuild_sets_the_state_aside_and_begins_anew_even_on_another_log(tmp_path: Path) -> None:
    committed(tmp_path)
    keeper = checked(tmp_path, Log("cluster-b"), rebuild=NOW)
    assert (keeper.empty, keeper.rebuilt) == (True, True)
    aside = tmp_path / "set-aside-20260102T030405Z"
    assert {"part-0.sqlite3", manifest.NAME} <= {path.name for path in aside.iterdir()}
    assert [path.name for path in keeper.parts()] == ["part-0.sqlite3"]
    assert checked(tmp_path, Log("cluster-b")).rebuilt, "a crash in the middle must not forget the decision"


def test_a_directory_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.glob("part-*"))
    monkeypatch.setattr(manifest, "FREE_BYTES_LEAST", 0)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * size))
    checked(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * size - 1))
    with pytest.raises(DirectoryUnusable, match=r"KiB free, and the recovery state needs.*make room"):
        checked(tmp_path)


def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    committed(tmp_path)
    draft = tmp_path / f"{manifest.NAME}.new"
    draft.mkdir()  # root may write anywhere, but nobody into a folder as if it were a file
    with pytest.raises(DirectoryUnusable, match=r"cannot be written to \(Is a directory\).*--recovery-directory"):
        checked(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'called `Result::unwrap()` on an `Err` value: SqliteFailure(Error { code: NotADatabase }, "x")',
            StateUnusable,
        ),
        ('SqliteFailure(Error { code: DatabaseCorrupt }, Some("malformed"))', StateUnusable),
        ('SqliteFailure(Error { code: DiskFull }, Some("database or disk is full"))', DirectoryUnusable),
        ('SqliteFailure(Error { code: SystemIoFailure }, Some("disk I/O error"))', DirectoryUnusable),
        ("a malformed price", type(None)),
    ],
)
def test_a_panic_that_quotes_sqlite_becomes_a_sentence(text: str, expected: type) -> None:
    assert type(damage(RuntimeError(text))) is expected


# --- while running ----------------------------------------------------------------------------------------------------


def test_a_directory_that_stays_is_fine_however_much_is_written_in_it(tmp_path: Path) -> None:
    committed(tmp_path)
    place = Place(tmp_path)
    (tmp_path / "part-0.sqlite3-wal").write_bytes(b"more")
    place.check()


def test_a_directory_that_was_deleted_is_noticed(tmp_path: Path) -> None:
    directory = tmp_path / "worker"
    directory.mkdir()
    committed(directory)
    place = Place(directory)
    shutil.rmtree(directory)
    with pytest.raises(DirectoryUnusable, match="worker was deleted while the engine was running"):
        place.check()


def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    committed(tmp_path)
    place = Place(tmp_path)
    part = tmp_path / "part-0.sqlite3"
    shutil.copy(part, tmp_path / "copy")
    (tmp_path / "copy").rename(part)
    with pytest.raises(DirectoryUnusable, match=r"part-0\.sqlite3 was replaced"):
        place.check()
