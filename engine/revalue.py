"""From positions and marks to risk snapshots. Pure: no I/O; the time is an argument.

Every portfolio that was touched is computed in full from its positions, all of them at once: nothing is carried over
from the last computation, so nothing can drift. What is written is the whole snapshot, never a difference.

A snapshot's sequence orders everything ever said about a portfolio: first by the offset of the update that stated its
positions, then by how many market records had been read (`market_watermark`). Both come from Kafka's own offsets, so a
replay arrives at the same numbers and never at larger ones.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from engine.book import NO_NAME, TOLERANCES, Book
from engine.market import UNMARKED_NS, Marks
from plimsoll.messages import AdvisorPnl, RiskPoint, RiskSnapshot, encode
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.risk.valuation import Market, revalue, scenario_pnl

WATERMARK_RANGE = 10**15
"""Market records before the watermark would spill into the offset: 1,500 years at 20,000 a second."""
HORIZON_DAYS = 1
NANOSECONDS_PER_MINUTE = 60 * 10**9


@dataclass(frozen=True, slots=True)
class Publication:
    """One snapshot, ready to write: encoded once, for Redis and for Kafka."""

    portfolio_id: str
    advisor_id: str
    sequence: str
    risk_score: float
    snapshot: bytes
    positions: bytes
    """The `PortfolioRecord`; empty where it is unchanged since it was last written."""
    again: bool
    """Its sequence was published before: only for whoever may have lost it."""
    minute_ms: int
    """The minute that `point` belongs to; 0 where this minute has its point already."""
    point: bytes


def sequence_of(source_offset: int, market_watermark: int) -> str:
    """Order by source offset, then by market watermark, as one number in decimal digits."""
    return str((source_offset + 1) * WATERMARK_RANGE + market_watermark)


def publications(
    book: Book,
    marks: Marks,
    market: Market,
    scenario_set: ScenarioSet,
    rows: NDArray[np.int64],
    *,
    market_watermark: int,
    risk_free: float,
    now_ns: int,
) -> list[Publication]:
    """Compute and encode the snapshots of `rows`."""
    began = time.perf_counter()
    quantities = book.positions(rows)
    measures = revalue(quantities, book.rows["cash"][rows], market, risk_free)
    newest_ns, oldest_ns = _mark_times(book, marks, rows)
    incomplete, proxied = _exceptions(book, market, rows)
    each_ms = (time.perf_counter() - began) * 1e3 / max(1, len(rows))
    book.rows["calculations"][rows] += 1
    book.rows["calculation_ms"][rows] += each_ms
    minute = now_ns // NANOSECONDS_PER_MINUTE
    columns = zip(
        rows.tolist(),
        *(book.rows[name][rows].tolist() for name in _COLUMNS),
        newest_ns.tolist(),
        oldest_ns.tolist(),
        np.nan_to_num(measures.risk_score, nan=0.0).tolist(),
        measures.var_95_scenario.tolist(),
        measures.rows(),
        strict=True,
    )
    made = []
    for (
        row,
        advisor,
        client,
        tolerance,
        partition,
        offset,
        count,
        total_ms,
        last_minute,
        last_watermark,
        restated,
        *valued,
    ) in columns:
        newest, oldest, score, scenario, measured = valued
        snapshot = RiskSnapshot(
            sequence=sequence_of(offset, market_watermark),
            advisor_id=book.advisors.known[advisor],
            portfolio_id=book.ids[row],
            client_id=None if client == NO_NAME else book.clients.known[client],
            risk_tolerance=TOLERANCES[tolerance],
            as_of_ns=newest,
            calculated_at_ns=now_ns,
            method=scenario_set.method,
            horizon_days=HORIZON_DAYS,
            observations=scenario_set.observations,
            scenario_set_id=scenario_set.scenario_set_id,
            var_95_scenario_date=scenario_set.sessions[scenario],
            incomplete_symbols=incomplete.get(row, _NONE),
            proxied_symbols=proxied.get(row, _NONE),
            oldest_price_ns=None if oldest == _NEVER else oldest,
            calculation_time_ms=each_ms,
            average_calculation_time_ms=total_ms / count,
            calculations=count,
            source_partition=partition,
            source_offset=offset,
            **measured,
        )
        due = minute != last_minute
        made.append(
            Publication(
                portfolio_id=snapshot.portfolio_id,
                advisor_id=snapshot.advisor_id,
                sequence=snapshot.sequence,
                risk_score=score,
                snapshot=encode(snapshot),
                positions=encode(book.record(row)) if restated else b"",
                again=last_watermark == market_watermark,
                minute_ms=minute * 60_000 if due else 0,
                point=encode(_point(snapshot)) if due else b"",
            )
        )
    book.rows["history_minute"][rows] = minute
    book.rows["published_watermark"][rows] = market_watermark
    book.rows["restated"][rows] = False
    return made


def advisor_pnl(
    book: Book, marks: Marks, market: Market, scenario_set: ScenarioSet, now_ns: int
) -> dict[str, AdvisorPnl]:
    """Scenario P&L of each advisor, summed over the portfolios of this book.

    P&L is linear in positions, so the sum over portfolios is the P&L of their summed positions: one row an advisor.
    Gross exposure is not linear: it is summed over portfolios, as the portfolios report it.
    """
    rows = book.open_rows()
    advisor = book.rows["advisor"][rows]
    positions = book.positions(rows)
    mark = np.nan_to_num(market.mark, nan=0.0)
    belongs = csr_array((np.ones(len(rows)), (advisor, np.arange(len(rows)))), shape=(len(book.advisors), len(rows)))
    exposure = (belongs @ positions).multiply(mark).tocsr()
    gross = belongs @ (abs(positions) @ mark)
    covered = belongs @ (abs(positions) @ (mark * market.own_history))
    net = exposure.sum(axis=1)
    cash = belongs @ book.rows["cash"][rows]
    day_pnl = (belongs @ positions) @ np.nan_to_num(market.mark - market.previous_close, nan=0.0)
    pnl = np.asarray(scenario_pnl(exposure, market.returns), np.float64)
    as_of = np.full(len(book.advisors), marks.time_ns.max())
    np.maximum.at(as_of, advisor, book.rows["event_time_ns"][rows])
    count = np.bincount(advisor, minlength=len(book.advisors))
    return {
        book.advisors.known[i]: AdvisorPnl(
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
        )
        for i in np.flatnonzero(count).tolist()
    }


_COLUMNS = (
    "advisor", "client", "tolerance", "partition", "offset", "calculations", "calculation_ms", "history_minute",
    "published_watermark",
    "restated",
)  # fmt: skip
_NONE: list[str] = []
_NEVER = np.iinfo(np.int64).max


def _mark_times(book: Book, marks: Marks, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each portfolio: event time of the newest thing in it, and of the oldest mark that values it."""
    positions = book.positions(rows)
    holder = np.repeat(np.arange(len(rows)), np.diff(positions.indptr))
    time_ns = marks.time_ns[positions.indices]
    marked = time_ns != UNMARKED_NS
    newest = book.rows["event_time_ns"][rows].copy()
    oldest = np.full(len(rows), _NEVER)
    np.maximum.at(newest, holder[marked], time_ns[marked])
    np.minimum.at(oldest, holder[marked], time_ns[marked])
    return newest, oldest


def _exceptions(
    book: Book, market: Market, rows: NDArray[np.int64]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """The few portfolios that hold symbols without a price, or without a history: row to symbols."""
    unpriced = np.isnan(market.mark)
    return (
        _held_among(book, rows, unpriced),
        _held_among(book, rows, ~unpriced & ~market.own_history),
    )


def _held_among(book: Book, rows: NDArray[np.int64], among: NDArray[np.bool_]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    if not among.any():
        return found
    positions = book.positions(rows)
    holder = np.repeat(rows, np.diff(positions.indptr))
    hit = among[positions.indices]
    for row, symbol in zip(holder[hit].tolist(), positions.indices[hit].tolist(), strict=True):
        found.setdefault(row, []).append(book.symbols.known[symbol])
    return {row: sorted(symbols) for row, symbols in found.items()}


def _point(snapshot: RiskSnapshot) -> RiskPoint:
    return RiskPoint(
        sequence=snapshot.sequence,
        as_of_ns=snapshot.as_of_ns,
        market_value=snapshot.market_value,
        var_95=snapshot.var_95,
        es_975=snapshot.es_975,
        volatility=snapshot.volatility,
        risk_number=snapshot.risk_number,
    )
