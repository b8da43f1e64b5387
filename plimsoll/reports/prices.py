"""Prices and volumes from files: a date, then a column for each symbol; a cell that is empty is a price not known.

Stocks and their index often come in files of their own. Files are joined on their dates, which must be the same, and a
symbol must be in one of them only: of two prices for one session nobody could say which is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plimsoll.messages import PRICE_MAX, QUANTITY_MAX
from plimsoll.reports.files import BadFile, Table, read_table
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.scenarios import Closes

VOLUME_SESSIONS = 21
"""A month of trading: the average daily volume is over as many."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Numbers by session and symbol, from one file or several.

    paths     the files
    sessions  (session,) dates as YYYY-MM-DD, ascending
    symbols   (symbol,) ascending
    value     (session, symbol) NaN where not known
    """

    paths: tuple[str, ...]
    sessions: tuple[str, ...]
    symbols: tuple[str, ...]
    value: FloatArray

    @property
    def named(self) -> str:
        """The files in a message."""
        return " and ".join(self.paths)

    def until(self, day: str) -> Series:
        """What was known at the end of this day: later sessions are not looked at. Raises `BadFile` without any."""
        count = sum(session <= day for session in self.sessions)
        if not count:
            raise BadFile(self.named, f"the first date is {self.sessions[0]}, after {day}")
        return Series(self.paths, self.sessions[:count], self.symbols, self.value[:count])


def read_prices(paths: Sequence[Path]) -> Series:
    """Prices, all above zero, of all files together. Raises `BadFile` naming file, row and column.

    A day on which nothing has a price is a holiday in the calendar of whoever made the file, and no session.
    """
    read = [_series(read_table(path), "price", PRICE_MAX, zero_allowed=False) for path in paths]
    joined = read[0]
    for other in read[1:]:
        joined = _joined(joined, other)
    traded = np.asarray(np.isfinite(joined.value).any(axis=1), np.bool_)
    if traded.all():
        return joined
    if not traded.any():
        raise BadFile(joined.named, "there is no price in it")
    sessions = tuple(session for session, any_price in zip(joined.sessions, traded, strict=True) if any_price)
    return Series(joined.paths, sessions, joined.symbols, joined.value[traded])


def read_volumes(path: Path) -> Series:
    """Volumes, zero or more, in units. Raises `BadFile` naming file, row and column."""
    return _series(read_table(path), "volume", QUANTITY_MAX, zero_allowed=True)


def closes_of(prices: Series) -> Closes:
    """The same as the mathematics takes it."""
    return Closes(prices.sessions, prices.symbols, prices.value)


def average_volumes(volumes: Series) -> dict[str, float]:
    """{symbol: units a day} over the newest 21 sessions; a symbol without any in them is left out."""
    newest = volumes.value[-VOLUME_SESSIONS:]
    known = np.isfinite(newest)
    count = known.sum(axis=0)
    total = np.where(known, newest, 0.0).sum(axis=0)
    return {
        symbol: float(total[column] / count[column]) for column, symbol in enumerate(volumes.symbols) if count[column]
    }


def _series(table: Table, what: str, most: float, *, zero_allowed: bool) -> Series:
    table = _without_numbering(table)
    if len(table.header) < 2:
        raise table.bad(f"there is one column only: a date, then a {what} column for each symbol, are needed")
    records = range(len(table.rows))
    sessions = [table.date(record, 0) for record in records]
    for record in records[1:]:
        earlier, later = sessions[record - 1], sessions[record]
        if earlier == later:
            raise table.bad(f"{later} stands here a second time", record, 0)
        if earlier > later:
            raise table.bad(f"{later} follows {earlier}: put the dates in ascending order", record, 0)
    value = np.array(
        [[table.number(record, column, most) for record in records] for column in range(1, len(table.header))],
        np.float64,
    )
    refused = value < 0.0 if zero_allowed else value <= 0.0
    if refused.any():
        column, record = np.argwhere(refused)[0].tolist()
        least = "zero or more" if zero_allowed else "above zero"
        raise table.bad(f"a {what} of {value[column, record]:g}: a {what} is {least}", record, column + 1)
    symbols = table.header[1:]
    order = sorted(range(len(symbols)), key=symbols.__getitem__)
    return Series(
        (table.path,), tuple(sessions), tuple(symbols[index] for index in order), np.ascontiguousarray(value[order].T)
    )


def _without_numbering(table: Table) -> Table:
    """The table without the numbers of its records, which pandas writes first and without a name."""
    numbered = [str(number) for number in range(len(table.rows))]
    if table.header[0] or [table.text(record, 0) for record in range(len(table.rows))] != numbered:
        return table
    return Table(table.path, table.header[1:], table.columns[1:], table.rows)


def _joined(one: Series, other: Series) -> Series:
    files = f"{one.named} and {other.named}"
    both = sorted(set(one.symbols) & set(other.symbols))
    if both:
        raise BadFile(files, "both have this column: a symbol must be in one of them only", column=both[0])
    if one.sessions != other.sessions:
        lacking = min(set(one.sessions) ^ set(other.sessions))
        has, lacks = (one, other) if lacking in one.sessions else (other, one)
        raise BadFile(files, f"their dates differ: {lacking} is in {has.named} and not in {lacks.named}")
    symbols = (*one.symbols, *other.symbols)
    order = sorted(range(len(symbols)), key=symbols.__getitem__)
    return Series(
        (*one.paths, *other.paths),
        one.sessions,
        tuple(symbols[index] for index in order),
        np.hstack([one.value, other.value])[:, order],
    )
