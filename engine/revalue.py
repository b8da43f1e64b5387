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
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from engine.backtest import backtest_record
from engine.book import NO_NAME, TOLERANCES, Book
from engine.market import UNMARKED_NS, Marks
from plimsoll.messages import AdvisorPnl, RiskPoint, RiskSnapshot, encode
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.measures import Choice
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.risk.valuation import Market, revalue, scenario_pnl

WATERMARK_RANGE = 10**15
"""Market records before the watermark would spill into the statement number: 1,500 years at 20,000 a second."""
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
    backtest: bytes = b""
    """The `BacktestRecord`; empty where it is unchanged since it was last written, or there is none yet."""


def sequence_of(statement: int, market_watermark: int) -> str:
    """Order by statement number, then by market watermark, as one number in decimal digits."""
    return str(statement * WATERMARK_RANGE + market_watermark)


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
    positions = book.positions(rows)
    measures = revalue(positions, book.rows["cash"][rows], market, choice, scale)
    newest_ns, oldest_ns = _mark_times(marks, positions, book.rows["event_time_ns"][rows])
    unpriced = np.isnan(market.mark)
    incomplete = _held_among(book, rows, positions, unpriced)
    proxied = _held_among(book, rows, positions, ~unpriced & ~market.own_history)
    each_ms = (time.perf_counter() - began) * 1e3 / max(1, len(rows))
    book.rows["calculations"][rows] += 1
    book.rows["calculation_ms"][rows] += each_ms
    step = _Step(book, scenario_set, choice.method, market_watermark, now_ns, each_ms, incomplete, proxied)
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
    made = [_publication(step, one) for one in map(_Valued._make, columns)]
    book.rows["history_minute"][rows] = step.minute
    book.rows["published_watermark"][rows] = market_watermark
    book.rows["restated"][rows] = book.rows["rejudged"][rows] = False
    return made


def advisor_pnl(
    book: Book, marks: Marks, market: Market, scenario_set: ScenarioSet, scale: FloatArray | None, now_ns: int
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
    scaled = exposure if scale is None else exposure.multiply(scale).tocsr()
    gross = belongs @ (abs(positions) @ mark)
    covered = belongs @ (abs(positions) @ (mark * market.own_history))
    net = exposure.sum(axis=1)
    cash = belongs @ book.rows["cash"][rows]
    day_pnl = (belongs @ positions) @ np.nan_to_num(market.mark - market.previous_close, nan=0.0)
    pnl = scenario_pnl(scaled, market.filtered).astype(np.float64)
    long_run_pnl = scenario_pnl(exposure, market.long_run).astype(np.float64)
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
            long_run_pnl=long_run_pnl[i].tobytes(),
        )
        for i in np.flatnonzero(count).tolist()
    }


class _Valued(NamedTuple):
    """One portfolio of a step: what the book says of it, then what was measured."""

    row: int
    advisor: int
    client: int
    tolerance: int
    partition: int
    offset: int
    statement: int
    calculations: int
    calculation_ms: float
    history_minute: int
    published_watermark: int
    restated: bool
    rejudged: bool
    newest_ns: int
    oldest_ns: int
    risk_score: float
    var_95_scenario: int
    measured: dict[str, Any]


_COLUMNS = _Valued._fields[1 : _Valued._fields.index("newest_ns")]
"""Those that are columns of the book, by the same names."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What the portfolios of one step have in common."""

    book: Book
    scenario_set: ScenarioSet
    method: str
    market_watermark: int
    now_ns: int
    each_ms: float
    incomplete: dict[int, list[str]]
    proxied: dict[int, list[str]]

    @property
    def minute(self) -> int:
        return self.now_ns // NANOSECONDS_PER_MINUTE


def _publication(step: _Step, one: _Valued) -> Publication:
    snapshot = _snapshot(step, one)
    due = step.minute != one.history_minute
    judged = backtest_record(step.book, one.row) if one.restated or one.rejudged else None
    return Publication(
        portfolio_id=snapshot.portfolio_id,
        advisor_id=snapshot.advisor_id,
        sequence=snapshot.sequence,
        risk_score=one.risk_score,
        snapshot=encode(snapshot),
        positions=encode(step.book.record(one.row)) if one.restated else b"",
        backtest=b"" if judged is None else encode(judged),
        again=one.published_watermark == step.market_watermark,
        minute_ms=step.minute * 60_000 if due else 0,
        point=encode(_point(snapshot)) if due else b"",
    )


def _snapshot(step: _Step, one: _Valued) -> RiskSnapshot:
    book, scenario_set = step.book, step.scenario_set
    return RiskSnapshot(
        sequence=sequence_of(one.statement, step.market_watermark),
        advisor_id=book.advisors.known[one.advisor],
        portfolio_id=book.ids[one.row],
        client_id=None if one.client == NO_NAME else book.clients.known[one.client],
        risk_tolerance=TOLERANCES[one.tolerance],
        as_of_ns=one.newest_ns,
        calculated_at_ns=step.now_ns,
        method=step.method,
        horizon_days=HORIZON_DAYS,
        observations=scenario_set.observations,
        scenario_set_id=scenario_set.scenario_set_id,
        var_95_scenario_date=scenario_set.scenario_sessions[one.var_95_scenario],
        incomplete_symbols=step.incomplete.get(one.row, _NONE),
        proxied_symbols=step.proxied.get(one.row, _NONE),
        oldest_price_ns=None if one.oldest_ns == _NEVER else one.oldest_ns,
        calculation_time_ms=step.each_ms,
        average_calculation_time_ms=one.calculation_ms / one.calculations,
        calculations=one.calculations,
        source_partition=one.partition,
        source_offset=one.offset,
        **one.measured,
    )


_NONE: list[str] = []
_NEVER = np.iinfo(np.int64).max


def _mark_times(
    marks: Marks, positions: csr_array, stated_ns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each portfolio: event time of the newest thing in it, and of the oldest mark that values it."""
    holder = np.repeat(np.arange(len(stated_ns)), np.diff(positions.indptr))
    time_ns = marks.time_ns[positions.indices]
    marked = time_ns != UNMARKED_NS
    newest, oldest = stated_ns.copy(), np.full(len(stated_ns), _NEVER)
    np.maximum.at(newest, holder[marked], time_ns[marked])
    np.minimum.at(oldest, holder[marked], time_ns[marked])
    return newest, oldest


def _held_among(
    book: Book, rows: NDArray[np.int64], positions: csr_array, among: NDArray[np.bool_]
) -> dict[int, list[str]]:
    """The few portfolios that hold one of these symbols: row to symbols."""
    found: dict[int, list[str]] = {}
    hit = among[positions.indices]
    if not hit.any():
        return found
    holder = np.repeat(rows, np.diff(positions.indptr))
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
