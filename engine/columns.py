"""The book's memory: a table of portfolios in columns, and one arena for the positions of all of them.

A column is one array, so that a window reads what it needs of ten thousand portfolios in one stretch of memory. Both
grow by a fifth at a time: arrays that double would take a portfolio's memory twice over, and with less room than this
copying them would take more time than it does for what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

SPARE = 0.2
"""Room kept beyond what is held, as a share of it."""
ROWS_LEAST = 256
POSITIONS_LEAST = 1024
RECENT_SESSIONS_MAX = 256
"""Sessions of the live backtest kept one by one: the 250 of Basel's traffic light, in whole bytes."""
_RECENT = (np.uint8, (RECENT_SESSIONS_MAX // 8,))

COLUMNS: dict[str, Any] = {
    "advisor": np.int32,
    "client": np.int32,
    "tolerance": np.int8,
    "account": np.int32,
    "cash": np.float64,
    "event_time_ns": np.int64,
    "version": np.int64,
    "partition": np.int32,
    "offset": np.int64,
    "record_time_ms": np.int64,
    "statement": np.int64,
    "start": np.int64,
    "length": np.int32,
    "calculations": np.int64,
    "calculation_ms": np.float64,
    "history_minute": np.int64,
    "published_ns": np.int64,
    "published_watermark": np.int64,
    "movement": np.float32,
    "size": np.float32,
    "open": np.bool_,
    "touched": np.bool_,
    "restated": np.bool_,
    "judged": np.int32,
    "judged_from": np.int32,
    "judged_to": np.int32,
    "exceptions_95": np.int32,
    "exceptions_99": np.int32,
    "recent_95": _RECENT,
    "recent_99": _RECENT,
    "rejudged": np.bool_,
}
"""Name to type. `calculation_ms` is the sum over all calculations; `history_minute`: the portfolio's own minute of the
last snapshot; `restated`: positions not yet written since they
changed; `published_watermark`: the market watermark of the last snapshot of these positions; `movement`: money that
marks have moved in it since that snapshot, ups and downs added, infinite where it has to go out whatever moved; `size`:
its gross exposure then. Of the live backtest: how many sessions were judged, from which day to which (since 1970), and
`rejudged`: not yet written since."""


class Columns:
    """A table; `columns["cash"]` is one column, (row,)."""

    def __init__(self, capacity: int = ROWS_LEAST) -> None:
        self._columns = {name: np.zeros(capacity, kind) for name, kind in COLUMNS.items()}

    def __len__(self) -> int:
        return len(self._columns["open"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __setitem__(self, name: str, values: NDArray[Any] | float) -> None:
        self._columns[name][:] = values

    def grow(self, capacity: int) -> None:
        """Make room for so many rows."""
        more = capacity - len(self)
        for name, kind in COLUMNS.items():
            self._columns[name] = np.concatenate([self._columns[name], np.zeros(more, kind)])

    def clear(self, row: int) -> None:
        """Forget a row."""
        for column in self._columns.values():
            column[row] = 0

    def first(self, count: int) -> dict[str, NDArray[Any]]:
        """A copy of the first rows."""
        return {name: column[:count].copy() for name, column in self._columns.items()}

    @classmethod
    def holding(cls, columns: dict[str, NDArray[Any]]) -> Self:
        """The table that `first` copied, with the least room."""
        count = len(columns["open"])
        table = cls(max(ROWS_LEAST, count))
        for name, column in columns.items():
            table._columns[name][:count] = column
        return table


@dataclass(slots=True)
class Arena:
    """Positions of all portfolios, side by side. `row` is -1 where a stretch was abandoned."""

    row: NDArray[np.int32] = field(default_factory=lambda: np.full(POSITIONS_LEAST, -1, np.int32))
    symbol: NDArray[np.int32] = field(default_factory=lambda: np.zeros(POSITIONS_LEAST, np.int32))
    sector: NDArray[np.int32] = field(default_factory=lambda: np.zeros(POSITIONS_LEAST, np.int32))
    quantity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(POSITIONS_LEAST))
    end: int = 0
    abandoned: int = 0

    def __len__(self) -> int:
        return self.end - self.abandoned

    def resized(self, keep: NDArray[Any] | slice, capacity: int) -> Arena:
        """A copy holding only `keep`, in that order, with room for `capacity` positions."""
        kept = self.row[keep]
        new = Arena(
            np.full(capacity, -1, np.int32),
            np.zeros(capacity, np.int32),
            np.zeros(capacity, np.int32),
            np.zeros(capacity),
            end=len(kept),
            abandoned=int(np.count_nonzero(kept < 0)),
        )
        for name in ("row", "symbol", "sector", "quantity"):
            getattr(new, name)[: len(kept)] = getattr(self, name)[keep]
        return new


def roomy(count: int, least: int = POSITIONS_LEAST) -> int:
    """How long an array of so many should be."""
    return max(least, int((1.0 + SPARE) * count))


def stretches(start: NDArray[np.int64], length: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where stretches of the arena lie, one after another, and where each begins among them (one more: their end)."""
    lengths = length.astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(starts[-1]) + np.repeat(start - starts[:-1], lengths), starts
