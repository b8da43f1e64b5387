"""What a worker's portfolios come to as a whole, for whoever watches the system: counts, and never a portfolio's name.

Pure. The live backtest and what is held without a price are in the book's arrays already, so one pass over them counts
what would be a read from Redis for each portfolio.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.book import Book
from engine.columns import RECENT_SESSIONS_MAX
from plimsoll.risk.backtest import TRAFFIC_LIGHT_DAYS, Zone, traffic_light

UNPROVEN = "NONE"
"""The zone of a portfolio judged in fewer sessions than Basel's 250: so few prove nothing."""
ZONES = (*Zone, UNPROVEN)

_NEWEST = np.packbits(np.arange(RECENT_SESSIONS_MAX) >= RECENT_SESSIONS_MAX - TRAFFIC_LIGHT_DAYS)
"""(32,) bits of the newest 250 sessions among the 256 that are kept."""


@dataclass(frozen=True, slots=True)
class Census:
    """One worker's open portfolios. Sessions and exceptions are sums over them, since each was first judged."""

    by_zone: dict[str, int]
    """Each of `ZONES`."""
    sessions: int
    exceptions_95: int
    exceptions_99: int
    incomplete: int
    """Portfolios that hold something without a price."""


def census(book: Book, price: NDArray[np.float64]) -> Census:
    """Count. `price` is (symbol,) money, NaN where there is none; symbols beyond its end have none either."""
    rows, open_rows = book.rows, book.open_rows()
    return Census(
        by_zone=_by_zone(rows["judged"][open_rows], rows["recent_99"][open_rows]),
        sessions=int(rows["judged"][open_rows].sum()),
        exceptions_95=int(rows["exceptions_95"][open_rows].sum()),
        exceptions_99=int(rows["exceptions_99"][open_rows].sum()),
        incomplete=_incomplete(book, price),
    )


def _by_zone(judged: NDArray[np.int32], recent: NDArray[np.uint8]) -> dict[str, int]:
    """`recent` is (portfolio, 32): bits of the newest 256 sessions."""
    proven = recent[judged >= TRAFFIC_LIGHT_DAYS] & _NEWEST
    exceptions = np.bitwise_count(proven.view(np.uint64)).sum(axis=1, dtype=np.int64)
    zones: Counter[str] = Counter({UNPROVEN: len(judged) - len(proven)})
    # As many portfolios as there may be: the law is asked once for each number of exceptions.
    for count, portfolios in enumerate(np.bincount(exceptions).tolist()):
        if portfolios:
            zones[traffic_light(count)] += portfolios
    return {zone: zones[zone] for zone in ZONES}


def _incomplete(book: Book, price: NDArray[np.float64]) -> int:
    unpriced = np.ones(len(book.symbols), np.bool_)
    known = price[: len(unpriced)]
    unpriced[: len(known)] = np.isnan(known)
    if not unpriced.any():
        return 0
    arena = book.arena
    held = slice(arena.end)
    lacking = np.flatnonzero(unpriced[arena.symbol[held]])
    lacking = lacking[arena.quantity[lacking] != 0.0]
    # Abandoned stretches belong to row -1: theirs is the first flag, and nobody's.
    incomplete = np.zeros(len(book.rows) + 1, np.bool_)
    incomplete[arena.row[lacking] + 1] = True
    return int(np.count_nonzero(incomplete[1:]))
