"""How a portfolio's value at risk has done: live, as the engine counts at each close, and rolled through past closes.

Pure functions; no I/O and no clock. Losses and value at risk are positive money.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from api.on_demand import Terms, units_held
from plimsoll.messages import BacktestRecord, PortfolioRecord
from plimsoll.risk import backtest
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.backtest import TRAFFIC_LIGHT_DAYS, Hold, LikelihoodRatio, Rolling, Verdict, Zone
from plimsoll.risk.methods import Method
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.risk.tails import TAIL_ES_975, TAIL_VAR_95, TAIL_VAR_99

_LEVELS = (TAIL_VAR_95, TAIL_VAR_99, TAIL_ES_975)
_WINDOW_LEAST = 250
"""A shorter window is another model than the one in force, unless the scenario set is as short itself."""


@dataclass(frozen=True, slots=True)
class LiveBacktest:
    """What the engine has counted since it first saw the portfolio at a close. `recent`: of the newest 250 sessions.

    `zone` is Basel's at 99 % over the recent sessions; None while they are fewer, when one exception proves nothing.
    """

    first_session: str
    last_session: str
    sessions: int
    exceptions_95: int
    exceptions_99: int
    recent_sessions: int
    recent_exceptions_95: int
    recent_exceptions_99: int
    kupiec_95: LikelihoodRatio
    kupiec_99: LikelihoodRatio
    zone: Zone | None


@dataclass(frozen=True, slots=True)
class ExceptionDay:
    """A session that lost more than value at risk had said the evening before; both positive money."""

    session: str
    loss: float
    value_at_risk: float


@dataclass(frozen=True, slots=True)
class Level:
    """What the tests say at one level, and the sessions that they count, oldest first."""

    verdict: Verdict
    exceptions: list[ExceptionDay]


@dataclass(frozen=True, slots=True)
class RollingBacktest:
    """The portfolio as it is now, by weight, through past sessions, each judged by what was known before it.

    window  scenarios behind each value at risk
    """

    method: Method
    scenario_set_id: str
    window: int
    first_session: str
    last_session: str
    days: int
    var_95: Level
    var_99: Level
    es_975: Verdict


@dataclass(frozen=True, slots=True)
class NoBacktest:
    """Why there is nothing to roll through, in a sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Backtest:
    """Both. `live` is None before the first judged session."""

    live: LiveBacktest | None
    rolling: RollingBacktest | NoBacktest


def live(record: BacktestRecord) -> LiveBacktest:
    """What the engine counted, and what the tests say of it."""
    recent_95, recent_99 = record.recent_95[-TRAFFIC_LIGHT_DAYS:], record.recent_99[-TRAFFIC_LIGHT_DAYS:]
    recent = len(recent_99)
    return LiveBacktest(
        first_session=record.first_session,
        last_session=record.last_session,
        sessions=record.sessions,
        exceptions_95=record.exceptions_95,
        exceptions_99=record.exceptions_99,
        recent_sessions=recent,
        recent_exceptions_95=recent_95.count("1"),
        recent_exceptions_99=recent_99.count("1"),
        kupiec_95=backtest.kupiec(record.exceptions_95, record.sessions, TAIL_VAR_95),
        kupiec_99=backtest.kupiec(record.exceptions_99, record.sessions, TAIL_VAR_99),
        zone=backtest.traffic_light(recent_99.count("1"), recent, TAIL_VAR_99)
        if recent == TRAFFIC_LIGHT_DAYS
        else None,
    )


def rolling(record: PortfolioRecord, scenarios: ScenarioSet, terms: Terms) -> RollingBacktest | NoBacktest:
    """The portfolio as it is now, by weight, through the closes of the scenario set, by the method in force.

    Sessions in which a name that is held has no return are left out. The window is the scenario set's, or as much of it
    as leaves 250 sessions to be judged.
    """
    quantity = units_held(record)
    if not quantity:
        return NoBacktest("Nothing is held.")
    closes = scenarios.closes
    unknown = sorted(quantity.keys() - set(closes.symbols))
    if unknown:
        return NoBacktest(f"There are no closes of {', '.join(unknown)}.")
    price = closes.price[:, [closes.symbols.index(symbol) for symbol in quantity]]
    whole = np.flatnonzero(np.isfinite(price).all(axis=1))
    follows = np.asarray(np.diff(whole) == 1, np.bool_)
    returns = int(follows.sum())
    window = min(scenarios.window, returns - TRAFFIC_LIGHT_DAYS)
    least = min(scenarios.window, _WINDOW_LEAST)
    if window < least:
        return NoBacktest(
            f"All that is held has a return in {returns} sessions;"
            f" {least + TRAFFIC_LIGHT_DAYS} are needed to judge {TRAFFIC_LIGHT_DAYS} of them."
        )
    rolled = backtest.rolling(
        price[whole],
        np.array([list(quantity.values())], np.float64),
        window=window,
        methods=[terms.choice.method],
        probabilities=_LEVELS,
        model=terms.choice.model,
        hold=Hold.WEIGHTS,
        follows=follows,
    )
    judged = [closes.sessions[row] for row in whole[rolled.sessions].tolist()]
    var_95, var_99, es_975 = (rolled.verdict(terms.choice.method, 0, level) for level in range(len(_LEVELS)))
    return RollingBacktest(
        method=terms.choice.method,
        scenario_set_id=scenarios.scenario_set_id,
        window=window,
        first_session=judged[0],
        last_session=judged[-1],
        days=len(judged),
        var_95=Level(var_95, _exceptions(rolled, judged, terms.choice.method, 0)),
        var_99=Level(var_99, _exceptions(rolled, judged, terms.choice.method, 1)),
        es_975=es_975,
    )


def _exceptions(rolled: Rolling, judged: list[str], method: Method, level: int) -> list[ExceptionDay]:
    pnl: FloatArray = rolled.pnl[0]
    at_risk: FloatArray = rolled.value_at_risk[method][0, level]
    return [
        ExceptionDay(judged[day], -float(pnl[day]), float(at_risk[day]))
        for day in np.flatnonzero(backtest.exceptions(pnl, at_risk)).tolist()
    ]
