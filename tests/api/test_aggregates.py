from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from api.aggregates import aggregate, chosen_scenario_set_id
from api.on_demand import Terms, parts, snapshots, valued
from plimsoll.messages import AdvisorPnl, Mark, PortfolioRecord
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Make

TERMS = Terms.of(Settings())
MARKS = {"AAPL": Mark(100.0, 5, previous_close=99.0), "MSFT": Mark(200.0, 7, previous_close=201.0)}


def a_pnl(scenario_set_id: str, portfolios: int) -> AdvisorPnl:
    pnl = np.arange(100, dtype=np.float64).tobytes()
    return AdvisorPnl(scenario_set_id, portfolios, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1, 1, pnl, pnl)


def pnl_of(record: PortfolioRecord, scenarios: ScenarioSet) -> AdvisorPnl:
    """What the engine would state of an advisor with this one portfolio."""
    held = parts(record, MARKS, scenarios, TERMS)
    market = valued([record], MARKS, scenarios, TERMS).market
    gross, net = float(np.abs(held.exposure).sum()), float(held.exposure.sum())
    (risk,) = snapshots([record], MARKS, scenarios, TERMS, sequence="1", now_ns=1)
    return AdvisorPnl(
        scenario_set_id=scenarios.scenario_set_id,
        portfolios=1,
        market_value=net + record.cash,
        gross_exposure=gross,
        net_exposure=net,
        cash=record.cash,
        day_pnl=risk.day_pnl,
        covered_exposure=gross,
        as_of_ns=1,
        calculated_at_ns=1,
        pnl=held.pnl.filtered.sum(axis=0).tobytes(),
        long_run_pnl=(held.exposure @ market.long_run).tobytes(),
    )


def test_vectors_of_two_scenario_sets_are_never_added() -> None:
    rolling = [a_pnl("old", 5), a_pnl("old", 5), a_pnl("new", 3)]
    assert chosen_scenario_set_id(rolling, "new") == "new"
    assert chosen_scenario_set_id(rolling, "newer") == "old"
    assert chosen_scenario_set_id([], "new") == "new"
    summed = aggregate(rolling, "newer", None, TERMS)
    assert (summed.portfolios, summed.partial, summed.scenario_set_id) == (10, True, "old")
    assert summed.measured is not None
    # The benchmark and the dates of that set are not known here.
    assert summed.measured["beta"] is summed.measured["tracking_error"] is summed.var_95_scenario_date is None


@pytest.mark.parametrize("method", ["filtered_historical", "historical", "age_weighted"])
def test_two_portfolios_together_are_as_risky_as_one_that_holds_both(make: Make, method: str) -> None:
    # More history than scenarios: the structural number looks at all of it.
    scenarios = make.scenario_set(300)
    terms = Terms.of(Settings(method=method))
    long, short = make.record(), make.record(quantities=[-30.0, 200.0], cash=500.0)
    both = make.record(quantities=[70.0, 250.0], cash=1_500.0)
    summed = aggregate([pnl_of(long, scenarios), pnl_of(short, scenarios)], scenarios.scenario_set_id, scenarios, terms)
    (risk,) = snapshots([both], MARKS, scenarios, terms, sequence="1", now_ns=1)

    assert summed.measured is not None
    for name in (
        "var_95", "var_99", "es_975", "volatility", "expected_return", "sharpe_ratio", "sortino_ratio", "beta",
        "tracking_error", "max_drawdown", "risk_number", "risk_number_structural", "day_pnl", "net_exposure",
    ):  # fmt: skip
        assert summed.measured[name] == pytest.approx(getattr(risk, name), rel=1e-9), name
    # Each holds 30 AAPL against the other's, and gross exposure does not net.
    assert summed.measured["gross_exposure"] == pytest.approx(risk.gross_exposure + 2 * 30 * 100.0)
    assert summed.measured["effective_names"] is None
    assert summed.var_95_scenario_date == risk.var_95_scenario_date
    assert (summed.method, summed.observations) == (method, 100)
