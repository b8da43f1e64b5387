from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.on_demand import aggregate, chosen_scenario_set_id, holdings, snapshots, stressed, traded
from plimsoll.messages import AdvisorPnl, Mark, RiskSnapshot
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.risk.stress import NamedStress

if TYPE_CHECKING:
    from tests.api.conftest import Make

NOW_NS = 1_700_000_000_000_000_000
MARKS = {"AAPL": Mark(100.0, 5, previous_close=99.0), "MSFT": Mark(200.0, 7), "TSLA": Mark(50.0, 6, beta=2.0)}
small_trades = st.dictionaries(st.sampled_from(["AAPL", "MSFT", "TSLA", "NEW"]), st.floats(-1e4, 1e4), max_size=4)


@pytest.fixture(scope="module")
def scenarios(make: Make) -> ScenarioSet:
    return make.scenario_set()


def measured(make: Make, scenarios: ScenarioSet, trades: dict[str, float]) -> RiskSnapshot:
    record = traded(make.record(), trades)
    (snapshot,) = snapshots([record], MARKS, scenarios, sequence="4", risk_free=0.0, now_ns=NOW_NS)
    return snapshot


@given(small_trades)
def test_money_measures_scale_with_the_portfolio(make: Make, scenarios: ScenarioSet, trades: dict[str, float]) -> None:
    record = traded(make.record(cash=0.0), trades)
    twice = traded(record, dict(zip(record.symbols, record.quantities, strict=True)))
    one, two = snapshots([record, twice], MARKS, scenarios, sequence="4", risk_free=0.0, now_ns=NOW_NS)
    for name in ("market_value", "gross_exposure", "var_95", "var_99", "es_975", "day_pnl"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name), rel=1e-9, abs=1e-6)
    assert one.incomplete_symbols == sorted(set(record.symbols) - MARKS.keys())


@given(small_trades)
def test_who_is_valued_beside_it_changes_no_portfolio(
    make: Make, scenarios: ScenarioSet, trades: dict[str, float]
) -> None:
    others = [make.record("other"), traded(make.record(), trades)]
    _, beside = snapshots(others, MARKS, scenarios, sequence="4", risk_free=0.0, now_ns=NOW_NS)
    alone = measured(make, scenarios, trades)
    assert beside.var_95 == pytest.approx(alone.var_95, rel=1e-9, abs=1e-9)
    assert beside.risk_number == alone.risk_number


def test_a_snapshot_says_what_it_was_made_from(make: Make, scenarios: ScenarioSet) -> None:
    snapshot = measured(make, scenarios, {"TSLA": 4.0, "NEW": 1.0, "AAPL": -100.0})
    assert (snapshot.sequence, snapshot.observations, snapshot.method) == ("4", 100, "historical")
    assert (snapshot.incomplete_symbols, snapshot.proxied_symbols) == (["NEW"], ["TSLA"])
    assert (snapshot.oldest_price_ns, snapshot.as_of_ns) == (6, make.record().event_time_ns)
    assert snapshot.var_95_scenario_date in scenarios.sessions
    # 50 x 200 of its own history, 4 x 50 by a proxy.
    assert snapshot.coverage == pytest.approx(10_000 / 10_200)


def test_weights_of_marked_holdings_and_cash_add_up_to_one(make: Make) -> None:
    record = make.record()
    weights = [holding.weight_fraction or 0.0 for holding in holdings(record, MARKS)]
    assert sum(weights) + record.cash / 21_000.0 == pytest.approx(1.0)


def test_a_stress_that_the_scenarios_saw_repeats_each_name_s_own_return(make: Make, scenarios: ScenarioSet) -> None:
    first, last = scenarios.sessions[10], scenarios.sessions[20]
    seen = NamedStress("seen", "Seen", first, last, -0.5)
    (result,) = stressed(make.record(), MARKS, scenarios, [seen])
    own = np.prod(1.0 + scenarios.returns_of("AAPL")[11:21]) - 1.0
    by_symbol = {holding.symbol: holding for holding in result.holdings}
    assert by_symbol["AAPL"].return_fraction == pytest.approx(own)
    assert by_symbol["AAPL"].pnl == pytest.approx(10_000 * own)
    assert result.own_share_fraction == 1.0


def a_pnl(scenario_set_id: str, portfolios: int) -> AdvisorPnl:
    pnl = np.arange(100, dtype=np.float64).tobytes()
    return AdvisorPnl(scenario_set_id, portfolios, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1, 1, pnl)


def test_vectors_of_two_scenario_sets_are_never_added() -> None:
    rolling = [a_pnl("old", 5), a_pnl("old", 5), a_pnl("new", 3)]
    assert chosen_scenario_set_id(rolling, "new") == "new"
    assert chosen_scenario_set_id(rolling, "newer") == "old"
    assert chosen_scenario_set_id([], "new") == "new"
    summed = aggregate(rolling, "newer", None, 0.0)
    assert (summed.portfolios, summed.partial, summed.scenario_set_id) == (10, True, "old")
    assert summed.measured is not None
    assert summed.measured["beta"] is None  # the benchmark of that set is not known here
