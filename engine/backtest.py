"""The live backtest: at each session's close, did a portfolio lose more than its value at risk had said? Pure.

Value at risk is that of the evening before: the scenarios known then, at the closes of then. The loss is what the same
positions made from that close to this one. The positions are those held at the close that ends the session, on both
sides, so a trade within the session judges neither the model nor the trader (the "hypothetical" P&L of Basel, MAR32).

A portfolio is judged from the first close after it was stated, and not by a close that was sent before its newest
statement: what it held then is in no log any more; nor by a session in which nothing that it holds could be valued.
Counts are for ever; the sessions themselves are kept as two bits each, the newest 256, in the book's own rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.book import Book
from engine.columns import RECENT_SESSIONS_MAX
from engine.market import ClosedSession
from plimsoll.messages import BacktestRecord
from plimsoll.risk.measures import Choice
from plimsoll.risk.tails import TAIL_VAR_95, TAIL_VAR_99
from plimsoll.risk.valuation import tails

_JUDGED = ("judged", "judged_from", "judged_to", "exceptions_95", "exceptions_99", "recent_95", "recent_99")
_EPOCH = np.datetime64("1970-01-01")


def held_through(book: Book, closed_ms: int) -> NDArray[np.int64]:
    """The rows that a close of that time judges: those whose positions were stated before it."""
    rows = book.open_rows()
    return rows[book.rows["record_time_ms"][rows] <= closed_ms]


def judge(book: Book, closed: ClosedSession, choice: Choice) -> None:
    """Count the exceptions of one session, for every portfolio that was held through it."""
    rows = held_through(book, closed.closed_ms)
    positions = book.positions(rows)
    size, valued = (abs(positions) @ np.column_stack((np.ones_like(closed.move), np.isfinite(closed.market.mark)))).T
    # Cash alone loses nothing; what has no price may have.
    known = (valued > 0.0) | (size == 0.0)
    rows, positions = rows[known], positions[known]
    if not len(rows):
        return
    table = book.rows
    pnl = positions @ np.nan_to_num(closed.move, nan=0.0)
    day = int((np.datetime64(closed.session) - _EPOCH).astype(np.int64))
    first = table["judged"][rows] == 0
    table["judged_from"][rows[first]] = day
    table["judged_to"][rows] = day
    table["judged"][rows] += 1
    at_risk = tails(positions, closed.market, (TAIL_VAR_95, TAIL_VAR_99), choice)
    for level, tail in zip(("95", "99"), at_risk, strict=True):
        exception = -pnl > tail.value_at_risk
        table[f"exceptions_{level}"][rows] += exception
        table[f"recent_{level}"][rows] = _pushed(table[f"recent_{level}"][rows], exception)
    table["rejudged"][rows] = True


def backtest_record(book: Book, row: int) -> BacktestRecord | None:
    """One portfolio's counts as other programs read them; None before its first session."""
    stated = {name: book.rows[name][row] for name in _JUDGED}
    judged = int(stated["judged"])
    if not judged:
        return None
    return BacktestRecord(
        portfolio_id=book.ids[row],
        first_session=_session(int(stated["judged_from"])),
        last_session=_session(int(stated["judged_to"])),
        sessions=judged,
        exceptions_95=int(stated["exceptions_95"]),
        exceptions_99=int(stated["exceptions_99"]),
        recent_95=_digits(stated["recent_95"], judged),
        recent_99=_digits(stated["recent_99"], judged),
    )


def _pushed(recent: NDArray[np.uint8], newest: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(portfolio, 32) bits of the newest 256 sessions, after one more; the newest is the last bit."""
    bits = np.unpackbits(recent, axis=1)
    return np.packbits(np.column_stack([bits[:, 1:], newest.astype(np.uint8)]), axis=1)


def _digits(recent: NDArray[np.uint8], judged: int) -> str:
    bits = np.unpackbits(recent)[-min(judged, RECENT_SESSIONS_MAX) :]
    return bytes(bits + ord("0")).decode()


def _session(day: int) -> str:
    return str(_EPOCH + day)
