"""Several portfolios measured as one: an advisor's, or the firm's. Pure; no I/O and no clock.

Value at risk does not add, so what is summed are P&L vectors, scenario by scenario, those of one scenario set only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from api.on_demand import Terms
from plimsoll.messages import AdvisorPnl
from plimsoll.risk import measures
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.measures import Holdings
from plimsoll.risk.methods import ScenarioPnl
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.risk.tails import NO_SCENARIO


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Several portfolios as one. `measured` is what `measures.Measures.rows` gives; None where nothing is known yet."""

    portfolios: int
    partial: bool
    method: str
    scenario_set_id: str | None
    as_of_ns: int | None
    observations: int
    var_95_scenario_date: str | None
    measured: Mapping[str, float | int | None] | None


def aggregate(
    pnls: Sequence[AdvisorPnl], current_id: str | None, scenarios: ScenarioSet | None, terms: Terms
) -> Aggregate:
    """Measure the sum of P&L vectors, those of one scenario set only: the current one, or the commonest.

    scenarios  the set that `current_id` names. Without it the benchmark is not known, so beta and tracking error are
               not defined, and value at risk has no date

    The number of effective names is not defined either: a sum of P&L does not say what is held. Nor does it tell an
    advisor without positions from one whose positions are all unpriced, so without gross exposure coverage is 0, the
    cautious answer.
    """
    chosen = chosen_scenario_set_id(pnls, current_id)
    summed = [pnl for pnl in pnls if pnl.scenario_set_id == chosen]
    method = terms.choice.method.value
    if not summed:
        return Aggregate(0, False, method, current_id, None, 0, None, None)
    filtered = _sum([pnl.pnl for pnl in summed])
    long_run = _sum([pnl.long_run_pnl for pnl in summed])
    observations = filtered.shape[1]
    known = scenarios if scenarios is not None and scenarios.scenario_set_id == chosen else None
    measured = measures.aggregate(
        _held(summed),
        ScenarioPnl(long_run[:, -observations:], filtered),
        long_run,
        np.full(observations, np.nan) if known is None else known.benchmark_returns,
        terms.choice,
    )
    scenario = int(measured.var_95_scenario[0])
    return Aggregate(
        portfolios=sum(pnl.portfolios for pnl in summed),
        partial=len(summed) < len(pnls),
        method=method,
        scenario_set_id=chosen,
        as_of_ns=max(pnl.as_of_ns for pnl in summed),
        observations=observations,
        var_95_scenario_date=None if known is None or scenario == NO_SCENARIO else known.scenario_sessions[scenario],
        measured=measured.rows()[0],
    )


def chosen_scenario_set_id(pnls: Sequence[AdvisorPnl], current_id: str | None) -> str | None:
    """The current set where any vector is of it; else the one that most portfolios are of (while a set rolls)."""
    portfolios: Counter[str] = Counter()
    for pnl in pnls:
        portfolios[pnl.scenario_set_id] += pnl.portfolios
    if current_id in portfolios or not portfolios:
        return current_id
    return portfolios.most_common(1)[0][0]


def _sum(vectors: Sequence[bytes]) -> FloatArray:
    """(1, scenario) money."""
    summed: FloatArray = np.sum([np.frombuffer(vector, np.float64) for vector in vectors], axis=0)
    return summed[None, :]


def _held(summed: Sequence[AdvisorPnl]) -> Holdings:
    gross = sum(pnl.gross_exposure for pnl in summed)
    covered = sum(pnl.covered_exposure for pnl in summed)
    return Holdings(
        market_value=np.array([sum(pnl.market_value for pnl in summed)], np.float64),
        gross_exposure=np.array([gross], np.float64),
        net_exposure=np.array([sum(pnl.net_exposure for pnl in summed)], np.float64),
        cash=np.array([sum(pnl.cash for pnl in summed)], np.float64),
        effective_names=np.array([np.nan]),
        day_pnl=np.array([sum(pnl.day_pnl for pnl in summed)], np.float64),
        coverage=np.array([covered / gross if gross > 0.0 else 0.0]),
    )
