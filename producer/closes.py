"""Closes to play: the bundled ones, or those of somebody's own files.

The bundled ones are 20 US stocks and the S&P 500, every session from 1990-01-02 to 2022-12-28. They are real prices
(daily, adjusted, in dollars) under the licence beside them, and they are either exactly what `SHA256SUMS` says or
refused: a demo on a damaged history would show risk that never was. No ticks, no randomness and no clock live here;
`market.py` plays these closes.
"""

from __future__ import annotations

import gzip
import hashlib
import math
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from plimsoll.errors import PlimsollError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from numpy.typing import NDArray

    from plimsoll.reports.prices import Series

BENCHMARK = "SP500"
"""The index. It ticks and closes like every symbol, and nobody holds it."""

CHECKSUMS = "SHA256SUMS"
STOCKS_FILE = "sp500_dataset.csv.gz"
INDEX_FILE = "sp500_index.csv.gz"

_SYMBOLS_BY_SECTOR = {
    "Technology": "AAPL AMD MSFT",
    "Finance": "BAC JPM",
    "Retail": "BBY HD WMT",
    "Energy": "CVX XOM RRC",
    "Other": "GE",
    "Healthcare": "JNJ LLY MRK PFE UNH",
    "Consumer": "KO PEP PG",
}
SECTORS = MappingProxyType({symbol: sector for sector, row in _SYMBOLS_BY_SECTOR.items() for symbol in row.split()})
"""Symbol -> sector, of every stock that can be held."""


class DamagedData(PlimsollError):
    """A bundled file is missing or not what its checksum says. Install the package again."""


@dataclass(frozen=True, slots=True, eq=False)
class Closes:
    """Closing prices, oldest session first.

    sessions   dates as YYYY-MM-DD, ascending
    symbols    of the bundled ones the stocks in alphabetical order, then `BENCHMARK`
    matrix     (session, symbol), dollars, all above zero; NaN where there is none, as only files have it
    benchmark  the symbol that beta is measured against; None where there is none
    sectors    symbol -> sector, where it is known
    """

    sessions: tuple[str, ...]
    symbols: tuple[str, ...]
    matrix: NDArray[np.float64]
    benchmark: str | None = BENCHMARK
    sectors: Mapping[str, str] = field(default_factory=lambda: SECTORS)

    def of(self, index: int) -> dict[str, float]:
        """The closes of one session by symbol, the benchmark included."""
        row = zip(self.symbols, self.matrix[index].tolist(), strict=True)
        return {symbol: close for symbol, close in row if not math.isnan(close)}

    def newest(self, index: int) -> dict[str, tuple[int, float]]:
        """Symbol -> the newest session with a close, up to session number `index`, and that close."""
        known = np.isfinite(self.matrix[: index + 1])
        rows = index - np.argmax(known[::-1], axis=0)
        return {
            symbol: (row, float(self.matrix[row, column]))
            for column, (symbol, row) in enumerate(zip(self.symbols, rows.tolist(), strict=True))
            if known[row, column]
        }

    def marks(self, index: int) -> dict[str, float]:
        """What each symbol was worth after session number `index`: its newest close."""
        return {symbol: close for symbol, (_, close) in self.newest(index).items()}


def of_files(prices: Series, benchmark: str | None, sectors: Mapping[str, str]) -> Closes:
    """Closes from files of prices."""
    return Closes(prices.sessions, prices.symbols, np.asarray(prices.value, np.float64), benchmark, sectors)


def load(directory: Traversable | None = None) -> Closes:
    """Read the bundled files, or those of another `directory`. Raises `DamagedData` naming the file."""
    directory = directory or resources.files("producer") / "data"
    checksums = _checksums(directory)
    stock_sessions, stocks, stock_closes = _table(STOCKS_FILE, _verified(directory, STOCKS_FILE, checksums))
    index_sessions, index, index_closes = _table(INDEX_FILE, _verified(directory, INDEX_FILE, checksums))
    if stock_sessions != index_sessions or index != (BENCHMARK,) or set(stocks) != set(SECTORS):
        raise DamagedData(f"{STOCKS_FILE} and {INDEX_FILE} do not cover the same sessions or symbols; install again")
    return Closes(stock_sessions, (*stocks, *index), np.hstack([stock_closes, index_closes]))


def _checksums(directory: Traversable) -> dict[str, str]:
    """File name -> sha256 in hexadecimal, as `sha256sum` writes them."""
    lines = _read(directory, CHECKSUMS).decode().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines if line.strip())}


def _verified(directory: Traversable, name: str, checksums: dict[str, str]) -> bytes:
    raw = _read(directory, name)
    found, expected = hashlib.sha256(raw).hexdigest(), checksums.get(name, "nothing")
    if found != expected:
        raise DamagedData(f"{name} is damaged: its sha256 is {found}, {CHECKSUMS} says {expected}; install again")
    return raw


def _read(directory: Traversable, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise DamagedData(f"{name} cannot be read ({error}); install again") from None


def _table(name: str, raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.float64]]:
    """Sessions, symbols and closes (session, symbol) of one file: a date column, then one column a symbol."""
    header, *rows = gzip.decompress(raw).decode().splitlines()
    sessions = tuple(row.partition(",")[0] for row in rows)
    symbols = tuple(header.split(",")[1:])
    closes = np.loadtxt(rows, delimiter=",", usecols=range(1, len(symbols) + 1), ndmin=2)
    if not (np.isfinite(closes).all() and (closes > 0).all()) or list(sessions) != sorted(set(sessions)):
        raise DamagedData(f"{name} has a close that is no price, or sessions out of order; install again")
    return sessions, symbols, closes
