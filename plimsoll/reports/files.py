"""Files of columns: CSV, the same compressed by gzip, or Parquet; what they are is told by their first bytes.

A file is read whole and as it is: which cells are dates, numbers or names is for `prices` and `positions` to say. What
is wrong with a file is said with its name, row and column, the row as an editor numbers lines (in Parquet: records).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from plimsoll.errors import PlimsollError

if TYPE_CHECKING:
    import pyarrow as pa

Cell: TypeAlias = object
"""Text where the file is CSV; what Parquet holds is a number, a date or None as well."""

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none"})
"""What stands for a number that is not known, in any case of letters."""

_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?")
"""An ISO date, alone or as the midnight that begins it."""


class BadFile(PlimsollError):
    """A file that is not what it should be. Correct the place that the text names.

    row     as an editor numbers it, from 1; None where it is the whole file, or a whole column
    column  its name; None where it is a whole row, or the whole file
    """

    def __init__(self, path: str, detail: str, row: int | None = None, column: str | None = None) -> None:
        places = [path]
        places += [f"row {row}"] if row is not None else []
        places += [f"column {column}"] if column is not None else []
        super().__init__(f"{', '.join(places)}: {detail}")
        self.path = path
        self.row = row
        self.column = column
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Table:
    """What a file holds.

    header   (column,) names, none of them twice
    columns  (column, record) cells
    rows     (record,) where each record stands in the file
    """

    path: str
    header: list[str]
    columns: list[list[Cell]]
    rows: Sequence[int]

    def bad(self, detail: str, record: int | None = None, column: int | None = None) -> BadFile:
        """An error in this file, of a record and a column by their indices."""
        row = None if record is None else self.rows[record]
        return BadFile(self.path, detail, row, None if column is None else self.header[column])

    def date(self, record: int, column: int) -> str:
        """The date of a cell as YYYY-MM-DD. Raises `BadFile` where it is none."""
        cell = self.columns[column][record]
        found = _date(cell)
        if found is None:
            raise self.bad(f"{_shown(cell)} is not a date as 2020-02-19", record, column)
        return found

    def number(self, record: int, column: int, most: float = math.inf) -> float:
        """The number of a cell, NaN where it is missing. Raises `BadFile` where it is neither, or beyond `most`."""
        cell = self.columns[column][record]
        try:
            found = _number(cell)
        except (TypeError, ValueError):
            raise self.bad(f"{_shown(cell)} is not a number", record, column) from None
        if math.isinf(found):
            raise self.bad(f"{_shown(cell)} is not a finite number", record, column)
        if abs(found) > most:
            bound = f"above {most:g}" if found > 0.0 else f"below {-most:g}"
            raise self.bad(f"{_shown(cell)} is a number {bound}, which is not taken", record, column)
        return found

    def text(self, record: int, column: int) -> str:
        """The text of a cell without the spaces around it, empty where it is missing."""
        cell = self.columns[column][record]
        return "" if cell is None else str(cell).strip()


def read_table(path: Path) -> Table:
    """A file's columns. Raises `BadFile` where it cannot be read, holds no record, or has columns of one name."""
    name = str(path)
    raw = _bytes(path)
    if not raw:
        raise BadFile(name, "the file is empty")
    if raw.startswith(_PARQUET):
        table = _parquet(name, raw)
    elif path.suffix.lower() in _PARQUET_SUFFIXES:
        raise BadFile(name, "this is not a Parquet file, though it is named like one")
    else:
        table = _csv(name, raw)
    _require_header(table)
    if not table.rows:
        raise BadFile(name, "there is a header and nothing below it")
    return table


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(_GZIP) else raw
    except FileNotFoundError:
        raise BadFile(str(path), "there is no such file") from None
    except IsADirectoryError:
        raise BadFile(str(path), "this is a directory: name a file in it") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadFile(str(path), f"the compressed file is damaged or cut off ({error})") from None
    except OSError as error:
        raise BadFile(str(path), f"cannot be read: {error.strerror or error}") from None


def _require_header(table: Table) -> None:
    seen: set[str] = set()
    for index, name in enumerate(table.header):
        if not name and index:
            raise BadFile(table.path, f"column number {index + 1} has no name in the header")
        if name in seen:
            raise BadFile(table.path, "the header names this column twice", column=name)
        seen.add(name)


# --- CSV --------------------------------------------------------------------------------------------------------------


def _csv(path: str, raw: bytes) -> Table:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise BadFile(path, f"this is not UTF-8 text: {error.reason}; save it as CSV in UTF-8", row) from None
    header: list[str] | None = None
    records: list[list[str]] = []
    rows: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    row = 1
    try:
        for record in reader:
            # A quoted cell may run over several lines; a record stands where it begins.
            begins, row = row, reader.line_num + 1
            # Commas alone are what a spreadsheet leaves below its table.
            if not any(cell.strip() for cell in record):
                continue
            if header is None:
                header = _names(path, record, begins)
            elif len(record) != len(header):
                raise BadFile(path, f"{len(record)} cells under a header of {len(header)}", begins)
            else:
                records.append(record)
                rows.append(begins)
    except csv.Error as error:
        raise BadFile(path, f"cannot be read as CSV: {error}", max(reader.line_num, 1)) from None
    if header is None:
        raise BadFile(path, "the file is empty")
    columns: list[list[Cell]] = [list(column) for column in zip(*records, strict=True)]
    return Table(path, header, columns or [[] for _ in header], rows)


def _names(path: str, record: list[str], row: int) -> list[str]:
    if len(record) == 1 and (other := next((each for each in ";\t|" if each in record[0]), None)):
        raise BadFile(path, f"the cells are separated by {other!r}: save the file with commas", row)
    return [name.strip() for name in record]


# --- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet(path: str, raw: bytes) -> Table:
    try:
        import pyarrow as pa  # noqa: PLC0415  # an extra of a hundred megabytes, for those who need it
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise BadFile(path, "reading Parquet needs pyarrow: install plimsoll[parquet], or save it as CSV") from None
    try:
        read = parquet.read_table(pa.BufferReader(raw))
        columns = [_cells(column) for column in read.columns]
    except (pa.ArrowException, OSError) as error:
        raise BadFile(path, f"cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    order = _index_first(read)
    header = [read.column_names[index].strip() for index in order]
    return Table(path, header, [columns[index] for index in order], range(1, read.num_rows + 1))


def _cells(column: pa.ChunkedArray) -> list[Cell]:
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_timestamp(column.type):
        # Finer than microseconds has no Python counterpart; a session has no time of day anyway.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    cells: list[Cell] = column.to_pylist()
    return cells


def _index_first(read: pa.Table) -> list[int]:
    """The order of the columns with a pandas index, which pandas writes last, at its place in front."""
    names = read.column_names
    described = json.loads((read.schema.metadata or {}).get(b"pandas", b"{}"))
    index = [names.index(name) for name in described.get("index_columns", []) if name in names]
    return index + [each for each in range(len(names)) if each not in index]


# --- cells ------------------------------------------------------------------------------------------------------------


def _date(cell: Cell) -> str | None:
    if isinstance(cell, datetime):
        return None if cell.time() != datetime.min.time() else cell.date().isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    found = _DATE.fullmatch(cell.strip()) if isinstance(cell, str) else None
    if found is None:
        return None
    try:
        return date.fromisoformat(found[1]).isoformat()
    except ValueError:
        return None


def is_date(text: str) -> bool:
    """Whether this is a date that there is, as YYYY-MM-DD."""
    return _date(text) == text


def _number(cell: Cell) -> float:
    if cell is None:
        return math.nan
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in MISSING:
            return math.nan
        # Python would read 1_000 as a thousand; nobody else does.
        if "_" in text:
            raise ValueError(text)
        return float(text)
    if isinstance(cell, bool):
        raise TypeError(cell)
    return float(cell)  # type: ignore[arg-type]  # whatever is no number raises TypeError


def _shown(cell: Cell) -> str:
    """A cell in a message, not longer than a message."""
    text = "" if cell is None else str(cell)
    return repr(text if len(text) <= 40 else text[:37] + "...") if text.strip() else "an empty cell"
