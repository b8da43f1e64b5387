"""The bundled history: exactly what its checksums say, or nothing."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from producer import closes


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The bundled files in a directory that a test may damage."""
    with resources.as_file(resources.files("producer") / "data") as data:
        shutil.copytree(data, tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        path.chmod(0o644)
    return tmp_path / "data"


def test_the_history_is_whole() -> None:
    bundled = closes.load()
    assert (bundled.sessions[0], bundled.sessions[-1]) == ("1990-01-02", "2022-12-28")
    assert bundled.symbols[-1] == closes.BENCHMARK
    assert bundled.matrix.shape == (8313, 21)
    assert (bundled.matrix > 0).all()


def test_known_closes_are_read_for_their_session_and_symbol() -> None:
    bundled = closes.load()
    last = bundled.of(len(bundled.sessions) - 1)
    assert last["AAPL"] == 125.674
    assert last["XOM"] == 106.627
    assert last["SP500"] == 3783.22


def test_every_stock_has_a_sector_and_the_index_has_none() -> None:
    assert set(closes.SECTORS) == set(closes.load().symbols) - {closes.BENCHMARK}
    assert closes.SECTORS["JPM"] == "Finance"


@pytest.mark.parametrize("name", [closes.STOCKS_FILE, closes.INDEX_FILE])
def test_a_damaged_file_is_refused_by_name(copied: Path, name: str) -> None:
    raw = bytearray((copied / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (copied / name).write_bytes(raw)
    with pytest.raises(closes.DamagedData, match=rf"{name} is damaged: its sha256 is [0-9a-f]{{64}}.*install again"):
        closes.load(copied)


def test_a_missing_file_is_refused_by_name(copied: Path) -> None:
    (copied / closes.INDEX_FILE).unlink()
    with pytest.raises(closes.DamagedData, match=f"{closes.INDEX_FILE} cannot be read"):
        closes.load(copied)


def test_a_file_without_a_checksum_is_refused(copied: Path) -> None:
    (copied / closes.CHECKSUMS).write_text("")
    with pytest.raises(closes.DamagedData, match=f"{closes.CHECKSUMS} says nothing"):
        closes.load(copied)


def test_a_copy_reads_the_same(copied: Path) -> None:
    assert np.array_equal(closes.load(copied).matrix, closes.load().matrix)
