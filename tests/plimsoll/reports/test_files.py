"""Files of columns: every way of saying the same thing is read, and what cannot be meant is refused with its place."""

from __future__ import annotations

import builtins
import gzip
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from plimsoll.reports.files import BadFile, is_date, read_table

Write = Callable[[str, str], Path]

TEXT = "Date,KO,PG\n2022-01-03,59.3,160\n2022-01-04,,161.5\n"


def refusal(path: Path) -> BadFile:
    with pytest.raises(BadFile) as raised:
        read_table(path)
    return raised.value


def cells(path: Path) -> tuple[list[str], list[str], list[float]]:
    table = read_table(path)
    return (
        table.header,
        [table.date(record, 0) for record in range(2)],
        [table.number(0, 1), table.number(0, 2), table.number(1, 2)],
    )


EXPECTED = (["Date", "KO", "PG"], ["2022-01-03", "2022-01-04"], [59.3, 160.0, 161.5])


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\n\n"),
        TEXT.replace("2022-01-03", "2022-01-03 00:00:00").replace("2022-01-04", "2022-01-04T00:00:00-05:00"),
        TEXT.replace("59.3", '" 59.3"').replace("KO", " KO "),
    ],
)
def test_the_same_is_read_however_it_is_written(write: Write, text: str) -> None:
    assert cells(write("prices.csv", text)) == EXPECTED


def test_a_compressed_file_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "prices.txt"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert cells(path) == EXPECTED


@pytest.mark.parametrize(
    "days",
    [
        pa.array([date(2022, 1, 3), date(2022, 1, 4)]),
        pa.array(["2022-01-03", "2022-01-04"]),
        pa.array([1641168000 * 10**9, 1641254400 * 10**9], pa.timestamp("ns")),
    ],
)
def test_parquet_reads_like_csv(tmp_path: Path, days: Any) -> None:
    path = tmp_path / "prices.parquet"
    parquet.write_table(pa.table({"Date": days, "KO": [59.3, None], "PG": [160, 161.5]}), path)
    assert cells(path) == EXPECTED
    assert read_table(path).rows == range(1, 3)


def test_the_index_of_pandas_comes_first_though_parquet_holds_it_last(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    index = pandas.DatetimeIndex(["2022-01-03", "2022-01-04"], name="Date")
    pandas.DataFrame({"KO": [59.3, None], "PG": [160, 161.5]}, index=index).to_parquet(tmp_path / "prices.parquet")
    assert cells(tmp_path / "prices.parquet") == EXPECTED


def test_without_pyarrow_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.parquet"
    parquet.write_table(pa.table({"Date": ["2022-01-03"], "KO": [1.0]}), path)
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "install plimsoll[parquet]" in str(refusal(path))


@pytest.mark.parametrize(
    ("text", "row", "column", "said"),
    [
        ("", None, None, "the file is empty"),
        ("\n\n", None, None, "the file is empty"),
        ("Date,KO\n", None, None, "a header and nothing below it"),
        ("Date,KO,KO\n2022-01-03,1,2\n", None, "KO", "names this column twice"),
        ("Date,KO,\n2022-01-03,1,2\n", None, None, "column number 3 has no name"),
        ("Date,KO\n2022-01-03,1\n2022-01-04,1,2\n", 3, None, "3 cells under a header of 2"),
        ('Date,KO\n\n2022-01-03,1\n"2022-01-04,1\n', 4, None, "cannot be read as CSV"),
        ("Date;KO\n2022-01-03;1\n", 1, None, "separated by ';'"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(
    write: Write, text: str, row: int | None, column: str | None, said: str
) -> None:
    path = write("prices.csv", text)
    error = refusal(path)
    assert (error.path, error.row, error.column) == (str(path), row, column)
    assert said in error.detail


def test_a_record_stands_where_it_begins(write: Write) -> None:
    table = read_table(write("positions.csv", 'id,note\n1,"two\nlines"\n\n2,one\n'))
    assert table.rows == [2, 5]


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    assert "no such file" in str(refusal(tmp_path / "nowhere.csv"))
    assert "this is a directory" in str(refusal(tmp_path))


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    whole = gzip.compress(TEXT.encode() * 100)
    for name, raw, said in (
        ("cut.csv.gz", whole[:-20], "damaged or cut off"),
        ("bent.csv.gz", whole[:15] + b"\0\0\0\0" + whole[19:], "damaged or cut off"),
        ("latin.csv", "Date,KÖ\n".encode("latin-1"), "row 1: this is not UTF-8 text"),
        ("cut.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("named.parquet", TEXT.encode(), "this is not a Parquet file"),
    ):
        (tmp_path / name).write_bytes(raw)
        assert said in str(refusal(tmp_path / name))


@pytest.mark.parametrize("text", ["03.01.2022", "2022-02-30", "2022-01-03 16:00:00", "", "20220103"])
def test_a_date_is_an_iso_date(write: Write, text: str) -> None:
    table = read_table(write("prices.csv", f"Date,KO\n{text},1\n"))
    with pytest.raises(BadFile, match=r"row 2, column Date: .* is not a date as 2020-02-19"):
        table.date(0, 0)
    assert not is_date(text)


@pytest.mark.parametrize("text", ["1 000", "1_000", "12,5", "abc", "1e", "--"])
def test_a_number_is_a_number(write: Write, text: str) -> None:
    table = read_table(write("prices.csv", f'Date,KO\n2022-01-03,"{text}"\n'))
    with pytest.raises(BadFile, match=r"row 2, column KO: .* is not a number"):
        table.number(0, 1)


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999"])
def test_a_number_is_finite(write: Write, text: str) -> None:
    table = read_table(write("prices.csv", f"Date,KO\n2022-01-03,{text}\n"))
    with pytest.raises(BadFile, match=r"row 2, column KO: .* is not a finite number"):
        table.number(0, 1)


@pytest.mark.parametrize("text", ["", " ", "NaN", "NA", "n/a", "null"])
def test_a_missing_number_is_nan(write: Write, text: str) -> None:
    assert math.isnan(read_table(write("prices.csv", f"Date,KO\n2022-01-03,{text}\n")).number(0, 1))
