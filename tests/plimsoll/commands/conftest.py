"""Heartbeats, snapshots and readings as a healthy system would give them, for every test to spoil one of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll import __version__
from plimsoll.messages import Heartbeat, RiskSnapshot, RiskTolerance

NOW_NS = 1_800_000_000 * 10**9


@pytest.fixture
def now_ns() -> int:
    return NOW_NS


@pytest.fixture
def beat() -> Callable[..., Heartbeat]:
    """Worker `index` of `workers`, who spoke `age` seconds ago."""

    def make(index: int = 0, workers: int = 1, *, age: float = 0.5, **stated: Any) -> Heartbeat:
        well = Heartbeat(
            worker_index=index,
            workers=workers,
            started_at_ns=NOW_NS - 60 * 10**9,
            beat_at_ns=NOW_NS - int(age * 1e9),
            state="running",
            portfolios=10,
            applied=100,
            stale=1,
            dead_lettered=2,
            calculations=50,
            average_calculation_time_ms=0.1,
            published=1000,
            scenario_set_id="set-1",
            last_session="2020-02-19",
            market_source="replay",
            version=__version__,
            host="here",
            lag=3,
        )
        return replace(well, **stated)

    return make


@pytest.fixture
def snapshot() -> Callable[..., RiskSnapshot]:
    """A portfolio's newest snapshot; `stated` replaces fields."""

    def make(portfolio_id: str = "portfolio-1", **stated: Any) -> RiskSnapshot:
        well = RiskSnapshot(
            sequence="1",
            advisor_id="advisor-1",
            source_partition=0,
            portfolio_id=portfolio_id,
            as_of_ns=NOW_NS,
            market_value=1_000_000.0,
            var_95=12_345.6,
            es_975=20_000.0,
            volatility=0.2,
            risk_number=71,
            client_id=None,
            risk_tolerance=RiskTolerance.MODERATE,
            calculated_at_ns=NOW_NS,
            gross_exposure=1_000_000.0,
            net_exposure=1_000_000.0,
            long_exposure=1_000_000.0,
            short_exposure=0.0,
            cash=0.0,
            var_99=20_000.0,
            var_95_fraction=0.0123456,
            var_99_fraction=0.02,
            es_975_fraction=0.02,
            expected_return=0.1,
            sharpe_ratio=0.5,
            sortino_ratio=0.5,
            beta=1.0,
            tracking_error=0.1,
            max_drawdown=-0.3,
            effective_names=5.0,
            risk_number_structural=70,
            day_pnl=0.0,
            method="filtered_historical",
            horizon_days=1,
            observations=500,
            scenario_set_id="set-1",
            var_95_scenario_date="2020-02-03",
            coverage=1.0,
            incomplete_symbols=[],
            proxied_symbols=[],
            oldest_price_ns=NOW_NS,
            calculation_time_ms=0.1,
            average_calculation_time_ms=0.1,
            calculations=1,
            source_offset=0,
        )
        return replace(well, **stated)

    return make
