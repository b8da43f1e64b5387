from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from api.backtests import NoBacktest, RollingBacktest, live, rolling
from api.on_demand import Terms, snapshots
from plimsoll.messages import BacktestRecord, Mark
from plimsoll.risk import backtest
from plimsoll.risk.backtest import Zone
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Make

TERMS = Terms.of(Settings())


def a_count(**stated: object) -> BacktestRecord:
    values = {
        "portfolio_id": "p-1",
        "first_session": "2019-01-02",
        "last_session": "2020-02-19",
        "sessions": 284,
        "exceptions_95": 15,
        "exceptions_99": 6,
        # The oldest exceptions are more than 250 sessions ago.
        "recent_95": "1" * 3 + "0" * 241 + "1" * 12,
        "recent_99": "1" + "0" * 250 + "1" * 5,
    } | stated
    return BacktestRecord(**values)  # type: ignore[arg-type]


def test_the_live_count_is_tested_over_all_sessions_and_lit_over_the_newest_250() -> None:
    told = live(a_count())
    assert (told.recent_sessions, told.recent_exceptions_95, told.recent_exceptions_99) == (250, 12, 5)
    assert told.kupiec_95 == backtest.kupiec(15, 284, 0.05)
    assert told.kupiec_99 == backtest.kupiec(6, 284, 0.01)
    assert told.zone is Zone.YELLOW


def test_before_250_sessions_there_is_no_zone() -> None:
    told = live(a_count(sessions=1, exceptions_95=0, exceptions_99=0, recent_95="0", recent_99="0"))
    assert (told.recent_sessions, told.zone, told.kupiec_95.rejected) == (1, None, False)


@pytest.fixture(scope="module")
def scenarios(make: Make) -> ScenarioSet:
    return make.scenario_set(400)


def test_the_portfolio_of_now_is_rolled_through_the_closes_of_the_set(make: Make, scenarios: ScenarioSet) -> None:
    rolled = rolling(make.record(), scenarios, TERMS)
    assert isinstance(rolled, RollingBacktest)
    sessions = scenarios.closes.sessions
    assert (rolled.window, rolled.days, rolled.last_session) == (100, 299, sessions[-1])
    assert rolled.first_session == sessions[101]
    exposure = scenarios.closes.price[-1, :2] * np.array([100.0, 50.0])
    pnl = scenarios.closes.returns()[:, :2] @ exposure
    for level in (rolled.var_95, rolled.var_99):
        assert level.verdict.exceptions == len(level.exceptions)
        for day in level.exceptions:
            assert day.loss > day.value_at_risk > 0.0
            assert day.loss == pytest.approx(-pnl[sessions.index(day.session) - 1])
    assert rolled.var_95.verdict.exceptions >= rolled.var_99.verdict.exceptions
    assert rolled.es_975.z2 is not None


def test_what_is_said_before_a_session_is_what_a_snapshot_said_then(make: Make) -> None:
    earlier, later = make.scenario_set(399), make.scenario_set(400)
    closes = zip(later.closes.symbols, later.closes.price[-1].tolist(), strict=True)
    marks = {symbol: Mark(price, 1) for symbol, price in closes}
    (risk,) = snapshots([make.record()], marks, earlier, TERMS, sequence="1", now_ns=1)
    rolled = backtest.rolling(
        later.closes.price[:, :2], np.array([[100.0, 50.0]]), window=100, methods=[TERMS.choice.method],
        probabilities=[0.05], model=TERMS.choice.model,
    )  # fmt: skip
    assert rolled.value_at_risk[TERMS.choice.method][0, 0, -1] == pytest.approx(risk.var_95, rel=1e-9)


def test_the_window_gives_way_so_that_250_sessions_can_be_judged(make: Make) -> None:
    rolled = rolling(make.record(), make.scenario_set(351), TERMS)
    assert isinstance(rolled, RollingBacktest)
    assert (rolled.window, rolled.days) == (100, 250)


@pytest.mark.parametrize(
    ("stated", "sessions", "reason"),
    [
        ({}, 350, "has a return in 349 sessions; 350 are needed"),
        ({"symbols": ["AAPL", "NEW"]}, 400, "no closes of NEW"),
        ({"quantities": [0.0, 0.0]}, 400, "Nothing is held"),
    ],
)
def test_where_nothing_can_be_rolled_through_the_reason_is_told(
    make: Make, stated: dict[str, object], sessions: int, reason: str
) -> None:
    told = rolling(make.record(**stated), make.scenario_set(sessions), TERMS)
    assert isinstance(told, NoBacktest)
    assert reason in told.reason
