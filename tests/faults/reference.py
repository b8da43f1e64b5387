"""What every portfolio must come to, computed twice from the log alone: by the engine's pure parts, and without them.

`by_the_engine` folds the records into a `Ledger` and asks for the publications of every open portfolio: no Bytewax, no
Kafka, no Redis, no crash, one pass. `by_hand` knows none of that: it reads JSON with the standard library, keeps the
newest statement of each portfolio, and values it in float64 with `plimsoll.risk`. Where the two and Redis agree, no
shared mistake is left but in the mathematics itself, which has tests of its own.

What makes a record invalid is not decided a third time: `by_hand` leaves out what `by_the_engine` and the dead-letter
topic name, and whether the two agree is an invariant of its own.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from logfile import Log
from scipy.sparse import csr_array

from engine.ledger import Ledger, Record
from engine.revalue import publications
from plimsoll import topics
from plimsoll.risk import stress
from plimsoll.risk.measures import Choice, Measures
from plimsoll.risk.methods import Method, Model
from plimsoll.risk.scenarios import Closes, Opinion, ScenarioSet, build
from plimsoll.risk.valuation import Market, live_scale, market_of, revalue, scenario_pnl
from plimsoll.settings import Settings

Position = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(frozen=True)
class Counted:
    """How the records of the log end: how many of each topic in which way, and which are set aside for what."""

    records: Counter[str]
    dead: dict[Position, str]
    stale: int

    def by_crew(self, workers: int) -> int:
        """What the three counters of all workers add up to: every worker reads the whole market."""
        portfolios = self.records[topics.PORTFOLIO_UPDATES.name]
        return portfolios + workers * (sum(self.records.values()) - portfolios)

    def dead_by_crew(self, workers: int) -> int:
        """What their dead-letter counters add up to."""
        return sum(1 if topic == topics.PORTFOLIO_UPDATES.name else workers for topic, _, _ in self.dead)


@dataclass(frozen=True)
class Expected:
    """The end of the log as the engine's pure parts see it."""

    snapshots: dict[str, dict[str, Any]]
    scores: dict[str, float]
    """As they are before anything is rounded; 0 where there is none."""
    counted: Counted
    scenario_set_id: str | None


def choice_of(settings: Settings) -> Choice:
    """By what the engine was told to measure."""
    model = Model(decay=settings.decay, age_decay=settings.age_decay)
    return Choice(Method(settings.method), model, settings.risk_free)


def by_the_engine(log: Log, settings: Settings, now_ns: int) -> Expected:
    """Every open portfolio's snapshot at the end of the log; `now_ns` judges claims of the future as the engine did."""
    ledger = Ledger.recovered(None, settings.benchmark, settings.scenarios, settings.decay)
    for record in [*log.market(), *log.of(topics.PORTFOLIO_UPDATES)]:
        ledger.take(record, now_ns)
    book, marks = ledger.book, ledger.marks
    marks.roll()
    market, scenario_set = marks.valuation(book.sectors), marks.scenario_set
    dead = {(one.topic, one.partition, one.offset): str(one.reason) for one in ledger.take_dead()}
    read = Counter(record.topic for record in [*log.market(), *log.of(topics.PORTFOLIO_UPDATES)])
    counted = Counted(read, dead, ledger.stale)
    if market is None or scenario_set is None:
        return Expected({}, {}, counted, None)
    rows, choice = book.open_rows(), choice_of(settings)
    scale = live_scale(market, settings.decay) if settings.live_volatility else None
    made = publications(
        book,
        marks,
        market,
        scenario_set,
        rows,
        market_watermark=ledger.market_watermark,
        choice=choice,
        scale=scale,
        now_ns=now_ns,
    )
    scores = revalue(book.positions(rows), book.rows["cash"][rows], market, choice, scale).risk_score
    return Expected(
        {one.portfolio_id: json.loads(one.snapshot) for one in made},
        dict(zip((one.portfolio_id for one in made), np.nan_to_num(scores, nan=0.0).tolist(), strict=True)),
        counted,
        scenario_set.scenario_set_id,
    )


# --- without the engine -----------------------------------------------------------------------------------------------


@dataclass
class Stated:
    """A portfolio as its newest valid record states it, and how many of its records there have been."""

    advisor_id: str
    client_id: str | None
    quantities: dict[str, float]
    cash: float
    source: tuple[int, int]
    version: int | None
    statement: int
    stated_at: float | str | None


@dataclass
class Statements:
    """Every portfolio that is open at the end of the log, and those that were closed: id to statement number."""

    portfolios: dict[str, Stated] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    stale: int = 0


def statements(log: Log, dead: AbstractSet[Position]) -> Statements:
    """The newest valid record of each portfolio, read as plain JSON. One partition a portfolio, as senders agree."""
    told = Statements()
    for record in log.of(topics.PORTFOLIO_UPDATES):
        if (record.topic, record.partition, record.offset) in dead:
            continue
        portfolio_id = (record.key or b"").decode()
        number = record.offset + 1
        if record.value is None:
            told.portfolios.pop(portfolio_id, None)
            told.closed[portfolio_id] = number
            continue
        stated = _stated(record, number)
        held = told.portfolios.get(portfolio_id)
        if held is not None and None not in (held.version, stated.version) and stated.version <= held.version:
            held.statement = number  # Stale: heard, counted, and not believed.
            told.stale += 1
            continue
        told.portfolios[portfolio_id] = stated
        told.closed.pop(portfolio_id, None)
    return told


def _stated(record: Record, number: int) -> Stated:
    update = json.loads(record.value or b"")
    return Stated(
        advisor_id=update["advisor_id"],
        client_id=update.get("client_id"),
        quantities={position["symbol"]: float(position["quantity"]) for position in update["positions"]},
        cash=float(update.get("cash", 0.0)),
        source=(record.partition, record.offset),
        version=update.get("version"),
        statement=number,
        stated_at=update.get("timestamp"),
    )


@dataclass(frozen=True)
class ByHand:
    """Measures of every open portfolio, in float64; `row[portfolio_id]` is where it stands in their arrays."""

    row: dict[str, int]
    measures: Measures
    pnl: np.ndarray
    """(portfolio, scenario) of the method in force, money."""
    scenario_set: ScenarioSet

    def of(self, portfolio_id: str) -> dict[str, float]:
        """The measures that are compared, by the names they are published under."""
        row = self.row[portfolio_id]
        names = ("market_value", "var_95", "var_99", "es_975", "gross_exposure", "day_pnl")
        return {name: float(getattr(self.measures, name)[row]) for name in names}

    def score(self, portfolio_id: str) -> float:
        """The risk number before it is rounded; NaN where there is none."""
        return float(self.measures.risk_score[self.row[portfolio_id]])

    def pnl_on(self, portfolio_id: str, session: str) -> float:
        """What the scenario of a session brings; NaN where it is none of the set."""
        sessions = list(self.scenario_set.sessions[-self.scenario_set.observations :])
        return float(self.pnl[self.row[portfolio_id], sessions.index(session)]) if session in sessions else math.nan


def by_hand(log: Log, told: Statements, dead: AbstractSet[Position], settings: Settings) -> ByHand | None:
    """Value every open portfolio anew from closes and marks; None while there is no scenario set or no portfolio."""
    sessions = _sessions(log, dead)
    ticks = _ticks(log, dead)
    if len(sessions) < 2 or not told.portfolios:
        return None
    closes, sectors, at_stress = _closes(sessions)
    scenario_set = build(
        closes,
        settings.benchmark,
        settings.scenarios,
        decay=settings.decay,
        sectors=sectors,
        stress_returns=stress.own_returns(at_stress),
    )
    held = {symbol for each in told.portfolios.values() for symbol in each.quantities}
    symbols = sorted(held | ticks.keys() | set(closes.symbols))
    market = _market(scenario_set, symbols, ticks, sessions[-1]["closes"], log, dead)
    row = {portfolio_id: number for number, portfolio_id in enumerate(sorted(told.portfolios))}
    quantity = np.zeros((len(row), len(symbols)))
    column = {symbol: number for number, symbol in enumerate(symbols)}
    for portfolio_id, number in row.items():
        for symbol, held_quantity in told.portfolios[portfolio_id].quantities.items():
            quantity[number, column[symbol]] = held_quantity
    cash = np.array([told.portfolios[portfolio_id].cash for portfolio_id in row])
    scale = live_scale(market, settings.decay) if settings.live_volatility else None
    measures = revalue(csr_array(quantity), cash, market, choice_of(settings), scale)
    returns = market.filtered if settings.method == Method.FILTERED_HISTORICAL else market.historical
    exposure = quantity * np.nan_to_num(market.mark, nan=0.0)
    pnl = scenario_pnl(exposure if scale is None else exposure * scale, returns)
    return ByHand(row, measures, pnl, scenario_set)


def _closes(sessions: list[dict[str, Any]]) -> tuple[Closes, dict[str, str], dict[str, dict[str, float]]]:
    sectors: dict[str, str] = {}
    for each in sessions:
        sectors |= each.get("sectors") or {}
    at_stress = {each["session"]: each["closes"] for each in sessions if each["session"] in stress.ANCHOR_SESSIONS}
    return Closes.of([(each["session"], each["closes"]) for each in sessions]), sectors, at_stress


def _sessions(log: Log, dead: AbstractSet[Position]) -> list[dict[str, Any]]:
    newest = {}
    for record in log.of(topics.MARKET_CLOSES):
        if (record.topic, record.partition, record.offset) not in dead:
            close = json.loads(record.value or b"")
            newest[close["session"]] = close
    return [newest[session] for session in sorted(newest)]


def _ticks(log: Log, dead: AbstractSet[Position]) -> dict[str, dict[str, Any]]:
    newest = {}
    for record in log.of(topics.MARKET_DATA):
        if (record.topic, record.partition, record.offset) not in dead:
            tick = json.loads(record.value or b"")
            newest[tick["symbol"]] = tick
    return newest


def _market(
    scenario_set: ScenarioSet,
    symbols: list[str],
    ticks: dict[str, dict[str, Any]],
    last_close: dict[str, float],
    log: Log,
    dead: AbstractSet[Position],
) -> Market:
    said = _sectors(log, dead)
    opinions = {
        symbol: Opinion(tick.get("volatility"), tick.get("beta"), said.get(symbol)) for symbol, tick in ticks.items()
    }
    mark = np.array([ticks.get(symbol, {}).get("price", math.nan) for symbol in symbols], np.float64)
    previous = np.array([last_close.get(symbol, math.nan) for symbol in symbols], np.float64)
    return market_of(scenario_set, symbols, opinions, mark, previous, np.float64)


def _sectors(log: Log, dead: AbstractSet[Position]) -> dict[str, str]:
    """Sector by symbol, as positions state it. Senders agree on it: where two do not, there is no telling."""
    return {
        position["symbol"]: position["sector"]
        for record in log.of(topics.PORTFOLIO_UPDATES)
        if record.value is not None and (record.topic, record.partition, record.offset) not in dead
        for position in json.loads(record.value)["positions"]
        if position.get("sector")
    }
