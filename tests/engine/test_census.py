"""The census: what a worker's portfolios come to, counted from the arrays and right to the portfolio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from engine.census import UNPROVEN, census
from engine.columns import RECENT_SESSIONS_MAX
from engine.ledger import Ledger, Record
from plimsoll.risk.backtest import TRAFFIC_LIGHT_DAYS, Zone

Take = Callable[[Sequence[Record]], Ledger]


def judged(ledger: Ledger, portfolio_id: str, sessions: int, exceptions: Sequence[int]) -> None:
    """Write down what the live backtest would have: `exceptions` are sessions ago, 1 the newest."""
    row, rows = ledger.book.row_of[portfolio_id], ledger.book.rows
    bits = np.zeros(RECENT_SESSIONS_MAX, np.uint8)
    bits[[RECENT_SESSIONS_MAX - ago for ago in exceptions]] = 1
    rows["judged"][row] = sessions
    rows["exceptions_99"][row] = len(exceptions)
    rows["recent_99"][row] = np.packbits(bits)


@pytest.mark.parametrize(
    ("sessions", "exceptions", "zone"),
    [
        (TRAFFIC_LIGHT_DAYS - 1, range(1, 21), UNPROVEN),
        (TRAFFIC_LIGHT_DAYS, range(1, 5), Zone.GREEN),
        (TRAFFIC_LIGHT_DAYS, range(1, 6), Zone.YELLOW),
        (TRAFFIC_LIGHT_DAYS, range(1, 10), Zone.YELLOW),
        (TRAFFIC_LIGHT_DAYS, range(1, 11), Zone.RED),
        # The oldest six of the 256 that are kept are none of Basel's 250.
        (300, [*range(241, 251), 251], Zone.RED),
        (300, range(247, 257), Zone.GREEN),
    ],
)
def test_a_portfolio_stands_in_the_zone_that_basel_s_table_gives_it(
    take: Take, feed: Any, sessions: int, exceptions: Sequence[int], zone: str
) -> None:
    ledger = take([feed.portfolio("p", {"AAPL": 1.0})])
    judged(ledger, "p", sessions, exceptions)
    counted = census(ledger.book, ledger.marks.price)
    assert counted.by_zone == {**dict.fromkeys((*Zone, UNPROVEN), 0), zone: 1}
    assert (counted.sessions, counted.exceptions_99) == (sessions, len(exceptions))


def test_a_closed_portfolio_is_in_no_count(take: Take, feed: Any) -> None:
    ledger = take([feed.portfolio(each, {"NOBODY": 1.0}) for each in ("p", "q")])
    judged(ledger, "p", TRAFFIC_LIGHT_DAYS, range(1, 11))
    take([feed.closed("p")])
    counted = census(ledger.book, ledger.marks.price)
    assert (counted.by_zone[Zone.RED], counted.by_zone[UNPROVEN], counted.sessions) == (0, 1, 0)
    assert counted.incomplete == 1


def test_a_portfolio_is_incomplete_as_long_as_something_it_holds_has_no_price(take: Take, feed: Any) -> None:
    ledger = take(
        [
            feed.tick("AAPL", 300.0),
            feed.portfolio("whole", {"AAPL": 1.0}),
            feed.portfolio("flat", {"AAPL": 1.0, "UNHEARD": 0.0}),
            feed.portfolio("two", {"UNHEARD": 1.0, "UNSEEN": -2.0}),
        ]
    )

    def incomplete() -> int:
        return census(ledger.book, ledger.marks.price).incomplete

    assert incomplete() == 1
    take([feed.tick("UNHEARD", 10.0)])
    assert incomplete() == 1
    take([feed.tick("UNSEEN", 10.0)])
    assert incomplete() == 0


def test_an_empty_book_is_counted_too(ledger: Ledger) -> None:
    counted = census(ledger.book, ledger.marks.price)
    assert set(counted.by_zone.values()) == {0}
    assert (counted.sessions, counted.incomplete) == (0, 0)
