"""A store as the engine would have left it, made without one: what is measured is reading, and its answers are known.

The market is a random walk from a seed. Every portfolio is measured over it by the code that answers what-if, so the
snapshot that is stored and the risk "before" that is computed on demand are the same figures, and can be compared.
"""

from __future__ import annotations

import time

import numpy as np
import redis

from api import on_demand
from api.on_demand import Terms
from plimsoll import keys
from plimsoll.messages import (
    Heartbeat,
    Mark,
    PortfolioRecord,
    RiskSnapshot,
    RiskTolerance,
    ScenarioSetRecord,
    encode,
)
from plimsoll.risk import scenarios
from plimsoll.risk.scenarios import Closes
from plimsoll.settings import Settings

BENCHMARK = "INDEX"
SYMBOLS = 60
NAMES = 50
"""Held by each portfolio."""
SESSIONS = 501
ADVISORS = 20


def seed(client: redis.Redis, count: int) -> dict[str, RiskSnapshot]:
    """Write `count` portfolios of 50 names, their snapshots, the market and a heartbeat; the snapshots by id."""
    rng = np.random.default_rng(7)
    symbols = [f"S{number:02d}" for number in range(SYMBOLS)]
    days = (np.datetime64("2020-01-01") + np.arange(SESSIONS)).astype(str).tolist()
    walk = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.012, (SESSIONS, SYMBOLS + 1)), axis=0))
    closes = Closes(tuple(days), (BENCHMARK, *symbols), walk)
    scenario_set = scenarios.build(closes, BENCHMARK, SESSIONS - 1)
    now_ns = time.time_ns()
    marks = {
        symbol: Mark(float(walk[-1, number + 1]), now_ns, previous_close=float(walk[-2, number + 1]))
        for number, symbol in enumerate(symbols)
    }
    records = [_record(number, rng, symbols, now_ns) for number in range(count)]
    snapshots = on_demand.snapshots(records, marks, scenario_set, Terms.of(Settings()), sequence="1", now_ns=now_ns)
    pipeline = client.pipeline(transaction=False)
    pipeline.hset(keys.MARKS, mapping={symbol: encode(mark) for symbol, mark in marks.items()})
    stated = ScenarioSetRecord(
        scenario_set_id=scenario_set.scenario_set_id,
        benchmark=BENCHMARK,
        window=scenario_set.window,
        decay=scenario_set.decay,
        symbols=list(closes.symbols),
        sessions=list(closes.sessions),
        closes=walk.tobytes(),
        sectors={},
        stress_returns={},
    )
    pipeline.set(keys.scenario_set(scenario_set.scenario_set_id), encode(stated))
    pipeline.set(keys.CURRENT_SCENARIO_SET, scenario_set.scenario_set_id)
    for record, snapshot in zip(records, snapshots, strict=True):
        _write(pipeline, record, snapshot)
    pipeline.execute()
    beat(client)
    return {snapshot.portfolio_id: snapshot for snapshot in snapshots}


def beat(client: redis.Redis) -> None:
    """A worker that is well, and spoke this moment."""
    now_ns = time.time_ns()
    heartbeat = Heartbeat(
        worker_index=0,
        workers=1,
        started_at_ns=now_ns,
        beat_at_ns=now_ns,
        state="running",
        portfolios=0,
        applied=0,
        stale=0,
        dead_lettered=0,
        calculations=0,
        average_calculation_time_ms=0.0,
        published=0,
        scenario_set_id=None,
        last_session=None,
        market_source=None,
    )
    client.hset(keys.ENGINE, "0/1", encode(heartbeat))


def _record(number: int, rng: np.random.Generator, symbols: list[str], now_ns: int) -> PortfolioRecord:
    held = rng.choice(SYMBOLS, NAMES, replace=False)
    return PortfolioRecord(
        portfolio_id=f"portfolio-{number:05d}",
        advisor_id=f"advisor-{number % ADVISORS}",
        client_id=None,
        risk_tolerance=RiskTolerance.MODERATE,
        account_type=None,
        cash=10_000.0,
        symbols=[symbols[index] for index in held],
        quantities=rng.integers(1, 500, NAMES).astype(float).tolist(),
        sectors=[None] * NAMES,
        event_time_ns=now_ns,
        version=None,
        source_partition=0,
        source_offset=number,
    )


def _write(pipeline: redis.client.Pipeline, record: PortfolioRecord, snapshot: RiskSnapshot) -> None:
    portfolio_id, advisor_id = record.portfolio_id, record.advisor_id
    score = float(snapshot.risk_number or 0)
    pipeline.set(keys.risk(portfolio_id), encode(snapshot))
    pipeline.set(keys.portfolio(portfolio_id), encode(record))
    for index, at in ((keys.by_risk, score), (keys.by_id, 0.0)):
        pipeline.zadd(index(), {portfolio_id: at})
        pipeline.zadd(index(advisor_id), {portfolio_id: at})
    pipeline.zadd(keys.ADVISORS, {advisor_id: 0.0})
