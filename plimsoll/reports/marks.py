"""What each symbol is worth on the day that is measured: its newest price, and how old that is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from plimsoll.reports.prices import Series


class Mark(NamedTuple):
    """A symbol's newest price.

    price           money
    previous_close  the newest price before the newest session; NaN where there is none
    session         of the price: a stale one is older than the newest session
    """

    price: float
    previous_close: float
    session: str


def marks_of(prices: Series) -> dict[str, Mark]:
    """{symbol: mark} of every symbol that ever had a price."""
    known = np.isfinite(prices.value)
    found = {}
    for column, symbol in enumerate(prices.symbols):
        rows = np.flatnonzero(known[:, column])
        if len(rows):
            before = rows[rows < len(prices.sessions) - 1]
            previous = float(prices.value[before[-1], column]) if len(before) else float("nan")
            found[symbol] = Mark(float(prices.value[rows[-1], column]), previous, prices.sessions[rows[-1]])
    return found
