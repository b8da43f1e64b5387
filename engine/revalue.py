"""From positions and marks to risk snapshots. Pure: no I/O; the time is an argument.

Every portfolio that was touched is computed in full from its positions, all of them at once: nothing is carried over
from the last computation, so nothing can drift. What is written is the whole snapshot, never a difference.

A snapshot's sequence orders everything ever said about a portfolio: first by its statement number (the offset of the
update that stated its positions, plus one; `engine.book` has the whole of it), then by how many market records had been
read (`market_watermark`). Both come from Kafka's own offsets, so a replay arrives at the same numbers and never at
larger ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from engine.backtest import backtest_record
from engine.book import TOLERANCES, Book
from engine.market import UNMARKED_NS, Marks
from plimsoll.messages import AdvisorPnl, RiskSnapshot, encode, encode_all
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.measures import Choice
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.risk.score import list_score
from plimsoll.risk.valuation import Market, revalue, scenario_pnl

WATERMARK_DIGITS = 15
WATERMARK_RANGE = 10**WATERMARK_DIGITS
"""Market records before the watermark would spill into the statement number: 1,500 years at 20,000 a second."""
HORIZON_DAYS = 1
DENSE_SUMS_MAX = 2_000_000
"""Owners times symbols up to which sums are counted into a full table (16 MB), which is far quicker than sorting."""
NANOSECONDS_PER_SECOND = 10**9
NANOSECONDS_PER_MINUTE = 60 * NANOSECONDS_PER_SECOND


class Publication(Struct, frozen=True, gc=False):
    """One snapshot, ready to write: encoded once, for Redis and for Kafka."""

    portfolio_id: str
    risk_score: float
    """As lists are kept in order of; 0 where there is none."""
    snapshot: bytes
    positions: bytes
    """The `PortfolioRecord`; empty where it is unchanged since it was last written."""
    backtest: bytes
    """The `BacktestRecord`; empty where it is unchanged since it was last written, or there is none yet."""
    minute_ms: int
    """The minute whose point of history this is; 0 where it is none."""
    again: bool
    """Its sequence was published before: only for whoever may have lost it."""


def sequence_of(statement: int, market_watermark: int) -> str:
    """Order by statement number (1 and more), then by market watermark, as one number in decimal digits."""
    return f"{statement}{market_watermark:0{WATERMARK_DIGITS}}"


def publications(
    book: Book,
    marks: Marks,
    market: Market,
    scenario_set: ScenarioSet,
    rows: NDArray[np.int64],
    *,
    market_watermark: int,
    choice: Choice,
    scale: FloatArray | None,
    now_ns: int,
) -> list[Publication]:
    """Compute and encode the snapshots of `rows`; `choice` and `scale` as `valuation.revalue` takes them."""
    began = time.perf_counter()
    table, count = book.rows, len(rows)
    positions = book.positions(rows)
    measures = revalue(positions, table["cash"][rows], market, choice, scale)
    newest_ns, oldest_ns = _mark_times(marks, market, positions, table["event_time_ns"][rows])
    each_ms = (time.perf_counter() - began) * 1e3 / max(1, count)
    table["calculations"][rows] += 1
    table["calculation_ms"][rows] += each_ms
    columns: dict[str, Iterable[Any]] = measures.columns() | {
        "sequence": [sequence_of(number, market_watermark) for number in table["statement"][rows].tolist()],
        "advisor_id": book.advisors.names(table["advisor"][rows]),
        "source_partition": table["partition"][rows].tolist(),
        "source_offset": table["offset"][rows].tolist(),
        "portfolio_id": [book.ids[row] for row in rows.tolist()],
        "client_id": book.clients.names(table["client"][rows]),
        "risk_tolerance": [TOLERANCES[number] for number in table["tolerance"][rows].tolist()],
        "as_of_ns": newest_ns.tolist(),
        "calculated_at_ns": repeat(now_ns),
        "method": repeat(choice.method),
        "horizon_days": repeat(HORIZON_DAYS),
        "observations": repeat(scenario_set.observations),
        "scenario_set_id": repeat(scenario_set.scenario_set_id),
        "var_95_scenario_date": _dates(scenario_set, measures.var_95_scenario),
        "oldest_price_ns": _unless_never(oldest_ns),
        "calculation_time_ms": repeat(each_ms),
        "average_calculation_time_ms": (table["calculation_ms"][rows] / table["calculations"][rows]).tolist(),
        "calculations": table["calculations"][rows].tolist(),
    }
    table["size"][rows] = measures.gross_exposure
    unpriced = np.isnan(market.mark)
    columns["incomplete_symbols"] = _held_among(book, positions, unpriced)
    columns["proxied_symbols"] = _held_among(book, positions, ~unpriced & ~market.own_history)
    return _published(book, rows, columns, measures.risk_score, market_watermark, now_ns)


def _published(
    book: Book,
    rows: NDArray[np.int64],
    columns: Mapping[str, Iterable[Any]],
    risk_score: FloatArray,
    market_watermark: int,
    now_ns: int,
) -> list[Publication]:
    """The snapshots with what goes beside them, encoded; the book takes note that they were published.

    Each portfolio has a second of the minute, by its row, from which on its next snapshot is a point of history. With
    one beginning for all, the first window of every minute would write as many points as there are portfolios.
    """
    table, minute = book.rows, now_ns // NANOSECONDS_PER_MINUTE
    turn = (now_ns // NANOSECONDS_PER_SECOND - rows % 60) // 60
    turn_had = table["history_minute"][rows]
    snapshots = map(RiskSnapshot, *(columns[name] for name in RiskSnapshot.__struct_fields__))
    minutes = np.where((turn_had == 0) | (turn_had == turn), 0, minute * 60_000)
    restated = table["restated"][rows]
    published = list(
        map(
            Publication,
            [book.ids[row] for row in rows.tolist()],
            np.nan_to_num(list_score(risk_score), nan=0.0).tolist(),
            encode_all(snapshots),
            _beside(rows, restated, lambda some: encode_all(book.records(some))),
            _beside(rows, restated | table["rejudged"][rows], lambda some: _judged(book, some)),
            minutes.tolist(),
            (table["published_watermark"][rows] == market_watermark).tolist(),
        )
    )
    table["history_minute"][rows] = turn
    table["published_watermark"][rows] = market_watermark
    table["restated"][rows] = table["rejudged"][rows] = False
    table["movement"][rows] = 0.0
    return published


def _beside(
    rows: NDArray[np.int64], wanted: NDArray[np.bool_], make: Callable[[NDArray[np.int64]], list[bytes]]
) -> Iterable[bytes]:
    """What `make` makes of the wanted rows, and nothing for the others, in the order of `rows`."""
    if not wanted.any():
        return repeat(b"")
    made = make(rows[wanted])
    if wanted.all():
        return made
    following = iter(made)
    return [next(following) if each else b"" for each in wanted.tolist()]


def _judged(book: Book, rows: NDArray[np.int64]) -> list[bytes]:
    if not book.rows["judged"][rows].any():
        return [b""] * len(rows)
    judged = [backtest_record(book, row) for row in rows.tolist()]
    return [b"" if each is None else encode(each) for each in judged]


def advisor_pnl(
    book: Book,
    marks: Marks,
    market: Market,
    scenario_set: ScenarioSet,
    scale: FloatArray | None,
    advisors: NDArray[np.int64],
    now_ns: int,
) -> dict[str, AdvisorPnl]:
    """Scenario P&L of each of these advisors (by number, ascending), summed over their portfolios in this book.

    P&L is linear in positions, so the sum over portfolios is the P&L of their summed positions: one row an advisor.
    Gross exposure is not linear: it is summed over portfolios, as the portfolios report it.
    """
    rows = book.open_rows()
    wanted = np.zeros(len(book.advisors), np.bool_)
    wanted[advisors] = True
    rows = rows[wanted[book.rows["advisor"][rows]]]
    advisor = np.searchsorted(advisors, book.rows["advisor"][rows])
    positions = book.positions(rows)
    mark = np.nan_to_num(market.mark, nan=0.0)
    belongs = csr_array((np.ones(len(rows)), (advisor, np.arange(len(rows)))), shape=(len(advisors), len(rows)))
    held = _summed(positions, advisor, len(advisors))
    exposure = csr_array(held.multiply(mark))
    scaled = exposure if scale is None else csr_array(exposure.multiply(scale))
    gross, covered = (belongs @ (abs(positions) @ np.column_stack((mark, mark * market.own_history)))).T
    net = exposure.sum(axis=1)
    cash = belongs @ book.rows["cash"][rows]
    day_pnl = held @ np.nan_to_num(market.mark - market.previous_close, nan=0.0)
    pnl = scenario_pnl(scaled, market.filtered).astype(np.float64)
    long_run_pnl = scenario_pnl(exposure, market.long_run).astype(np.float64)
    as_of = np.full(len(advisors), UNMARKED_NS, np.int64)
    np.maximum.at(as_of, advisor, _mark_times(marks, market, positions, book.rows["event_time_ns"][rows])[0])
    count = np.bincount(advisor, minlength=len(advisors))
    return {
        book.advisors.known[number]: AdvisorPnl(
            scenario_set_id=scenario_set.scenario_set_id,
            portfolios=int(count[i]),
            market_value=float(net[i] + cash[i]),
            gross_exposure=float(gross[i]),
            net_exposure=float(net[i]),
            cash=float(cash[i]),
            day_pnl=float(day_pnl[i]),
            covered_exposure=float(covered[i]),
            as_of_ns=int(as_of[i]),
            calculated_at_ns=now_ns,
            pnl=pnl[i].tobytes(),
            long_run_pnl=long_run_pnl[i].tobytes(),
        )
        for i, number in enumerate(advisors.tolist())
    }


def _summed(positions: csr_array, owner: NDArray[np.int64], owners: int) -> csr_array:
    """(owner, symbol) the positions of each owner's portfolios, added up; `owner` is that of each portfolio."""
    symbols = positions.shape[1]
    of_position = np.repeat(owner, np.diff(positions.indptr))
    if owners * symbols <= DENSE_SUMS_MAX:
        cell = of_position * symbols + positions.indices
        return csr_array(np.bincount(cell, positions.data, owners * symbols).reshape(owners, symbols))
    return csr_array(coo_array((positions.data, (of_position, positions.indices)), shape=(owners, symbols)))


_NONE: list[str] = []
_NEVER = np.iinfo(np.int64).max


def _dates(scenario_set: ScenarioSet, scenario: NDArray[np.int64]) -> list[str]:
    """The session of each scenario; of none, where there is none, as of the last."""
    sessions = scenario_set.scenario_sessions
    return [sessions[number] for number in scenario.tolist()]


def _unless_never(times_ns: NDArray[np.int64]) -> list[int | None]:
    listed: list[int | None] = times_ns.tolist()
    if (times_ns == _NEVER).any():
        return [None if time_ns == _NEVER else time_ns for time_ns in listed]
    return listed


def _mark_times(
    marks: Marks, market: Market, positions: csr_array, stated_ns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each portfolio: event time of the newest thing in it, and of the oldest mark that values it."""
    newest, oldest = stated_ns.copy(), np.full(len(stated_ns), _NEVER)
    holding = np.flatnonzero(np.diff(positions.indptr))
    if len(holding):
        # A price that values nothing, for want of returns, is as old as none at all.
        valuing = np.where(np.isnan(market.mark), UNMARKED_NS, marks.time_ns[: len(market.mark)])
        time_ns, starts = valuing[positions.indices], positions.indptr[holding]
        marked = time_ns != UNMARKED_NS
        newest[holding] = np.maximum(newest[holding], np.maximum.reduceat(time_ns, starts))
        oldest[holding] = np.minimum.reduceat(np.where(marked, time_ns, _NEVER), starts)
    return newest, oldest


def _held_among(book: Book, positions: csr_array, among: NDArray[np.bool_]) -> Iterable[list[str]]:
    """For each portfolio the names of those symbols that it holds; mostly none."""
    hit = among[positions.indices]
    if not hit.any():
        return repeat(_NONE)
    holder = np.repeat(np.arange(positions.shape[0]), np.diff(positions.indptr))
    found: dict[int, list[str]] = {}
    for at, symbol in zip(holder[hit].tolist(), positions.indices[hit].tolist(), strict=True):
        found.setdefault(at, []).append(book.symbols.known[symbol])
    return [sorted(found.get(at, _NONE)) for at in range(positions.shape[0])]
