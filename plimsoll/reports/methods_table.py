"""Every method's value at risk and expected shortfall beside the others, with the dates of their scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from plimsoll.risk import methods
from plimsoll.risk.arrays import BoolArray, FloatArray
from plimsoll.risk.methods import Method, Model, ScenarioPnl
from plimsoll.risk.tails import NO_SCENARIO, TAIL_ES_975, TAIL_VAR_95, TAIL_VAR_99, scenario_of, value_at_risk

LEVELS = {"0.95": TAIL_VAR_95, "0.99": TAIL_VAR_99, "0.975": TAIL_ES_975}
"""{confidence as it is written: tail probability}."""

Figures: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""{method: {confidence: {"fraction", "amount", "scenario_date"}}}."""


def methods_side_by_side(
    pnl: ScenarioPnl, value: FloatArray, model: Model, sessions: Sequence[str]
) -> list[dict[str, Figures]]:
    """For each portfolio `{"var": figures, "es": figures}` of all methods.

    pnl       (portfolio, scenario) money
    value     (portfolio,) money that fractions are of; NaN where there is none
    sessions  (scenario,) dates

    The date is of the scenario whose loss a value at risk is; for expected shortfall, of the one on the boundary of the
    tail. None for an assumed law, an interpolated quantile, and where nothing that moves is held.
    """
    found: list[dict[str, Figures]] = [{"var": {}, "es": {}} for _ in value]
    moves: BoolArray = np.asarray(pnl.historical.any(axis=1))
    for method in Method:
        tails = methods.tail_risk(method, pnl, list(LEVELS.values()), model)
        for confidence, tail in zip(LEVELS, tails, strict=True):
            dates = _dates(method, pnl, LEVELS[confidence], tail.value_at_risk, model, sessions)
            for measure, amount, date in zip(("var", "es"), tail, dates, strict=True):
                fraction = amount / value
                for number, portfolio in enumerate(found):
                    portfolio[measure].setdefault(method.value, {})[confidence] = {
                        "fraction": _known(fraction[number]),
                        "amount": _known(amount[number]),
                        "scenario_date": date[number] if moves[number] else None,
                    }
    return found


def _dates(
    method: Method, pnl: ScenarioPnl, tail: float, at_risk: FloatArray, model: Model, sessions: Sequence[str]
) -> tuple[list[str | None], list[str | None]]:
    """Of value at risk, and of the boundary of expected shortfall, for each portfolio."""
    sample = methods.sample(method, pnl, model)
    if sample is None:
        return [None] * len(at_risk), [None] * len(at_risk)
    boundary = value_at_risk(sample.pnl, tail, sample.weight)
    return _dated(scenario_of(sample.pnl, at_risk), sessions), _dated(scenario_of(sample.pnl, boundary), sessions)


def _dated(scenario: np.ndarray[Any, np.dtype[np.int64]], sessions: Sequence[str]) -> list[str | None]:
    return [None if index == NO_SCENARIO else sessions[index] for index in scenario.tolist()]


def _known(number: np.floating[Any]) -> float | None:
    return float(number) if np.isfinite(number) else None
