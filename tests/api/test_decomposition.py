from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.decomposition import Added, alternatives, contributions
from api.on_demand import Terms, snapshots, traded
from plimsoll.messages import Mark, PortfolioRecord
from plimsoll.risk.methods import RELIVE, Method
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Make

MARKS = {"AAPL": Mark(100.0, 5, previous_close=99.0), "MSFT": Mark(200.0, 7), "TSLA": Mark(50.0, 6, beta=2.0)}
TERMS = Terms.of(Settings())
ALL_TERMS = [Terms.of(Settings(method=method.value, live_volatility=live)) for method in RELIVE for live in (0, 1)]
MEASURES = ("var_95", "var_99", "es_975")
small_trades = st.dictionaries(st.sampled_from(["AAPL", "MSFT", "TSLA", "NEW"]), st.floats(-1e4, 1e4), max_size=4)


@pytest.fixture(scope="module")
def scenarios(make: Make) -> ScenarioSet:
    return make.scenario_set(sectors={"MSFT": "Technology"})


def headline(record: PortfolioRecord, scenarios: ScenarioSet, terms: Terms) -> dict[str, float]:
    (snapshot,) = snapshots([record], MARKS, scenarios, terms, sequence="1", now_ns=1)
    return {name: getattr(snapshot, name) for name in MEASURES}


@given(small_trades, st.sampled_from(ALL_TERMS))
def test_contributions_add_up_to_the_total_and_the_total_is_the_headline(
    make: Make, scenarios: ScenarioSet, trades: dict[str, float], terms: Terms
) -> None:
    record = traded(make.record(), trades)
    found = contributions(record, MARKS, scenarios, terms)
    gross = sum(abs(part.exposure) for part in found.holdings)
    for name, stated in headline(record, scenarios, terms).items():
        total = getattr(found, name)
        assert total == pytest.approx(stated, rel=1e-9, abs=1e-12 * gross + 1e-12)
        for parts in (found.holdings, found.sectors):
            added = sum(getattr(part, name).component for part in parts)
            assert added == pytest.approx(total, rel=1e-12, abs=1e-12 * gross + 1e-12)
    assert {part.name for part in found.holdings} == set(record.symbols) & MARKS.keys()
    assert found.incomplete_symbols == sorted(set(record.symbols) - MARKS.keys())


def test_incremental_is_the_total_less_that_of_the_portfolio_without_the_holding(
    make: Make, scenarios: ScenarioSet
) -> None:
    found = contributions(make.record(), MARKS, scenarios, TERMS)
    aapl = next(part for part in found.holdings if part.name == "AAPL")
    without = headline(traded(make.record(), {"AAPL": -100.0}), scenarios, TERMS)
    for name in MEASURES:
        added: Added = getattr(aapl, name)
        assert added.incremental == pytest.approx(getattr(found, name) - without[name])
        assert added.marginal == pytest.approx(added.component / 10_000.0)
    assert aapl.weight_fraction == pytest.approx(10_000 / 21_000)


def test_sectors_are_the_owner_s_and_else_those_of_the_closes(make: Make, scenarios: ScenarioSet) -> None:
    record = traded(make.record(), {"TSLA": 10.0})
    found = contributions(record, MARKS, scenarios, TERMS)
    assert [(part.name, part.exposure) for part in found.sectors] == [("Technology", 20_000.0), (None, 500.0)]
    assert {part.name: part.sector for part in found.holdings} == {
        "AAPL": "Technology",
        "MSFT": "Technology",
        "TSLA": None,
    }


def test_a_portfolio_of_nothing_splits_into_nothing(make: Make, scenarios: ScenarioSet) -> None:
    empty = traded(make.record(), {"AAPL": -100.0, "MSFT": -50.0})
    found = contributions(empty, MARKS, scenarios, TERMS)
    assert (found.var_95, found.es_975, found.holdings, found.sectors) == (0.0, 0.0, [], [])
    assert all(each.var_95 == 0.0 for each in alternatives(empty, MARKS, scenarios, TERMS))


@pytest.mark.parametrize("terms", ALL_TERMS, ids=lambda terms: f"{terms.choice.method}-{terms.live_volatility}")
def test_of_the_alternatives_the_one_in_force_is_the_headline(make: Make, scenarios: ScenarioSet, terms: Terms) -> None:
    record = traded(make.record(), {"TSLA": -30.0})
    found = alternatives(record, MARKS, scenarios, terms)
    (in_force,) = [each for each in found if each.in_force]
    assert in_force.method is terms.choice.method
    for name, stated in headline(record, scenarios, terms).items():
        assert getattr(in_force, name) == pytest.approx(stated, rel=1e-12)
    assert in_force.var_95_fraction == pytest.approx((in_force.var_95 or 0.0) / 19_500.0)


def test_every_method_has_a_label_and_those_that_re_live_scenarios_a_date(make: Make, scenarios: ScenarioSet) -> None:
    found = alternatives(make.record(), MARKS, scenarios, TERMS)
    assert [each.method for each in found] == list(Method)
    assert [each.label for each in found] == [method.label for method in Method]
    for each in found:
        assert (each.var_95_scenario_date in scenarios.scenario_sessions) is (each.method in RELIVE)


def test_without_market_value_there_is_money_and_no_fraction(make: Make, scenarios: ScenarioSet) -> None:
    indebted = make.record(cash=-50_000.0)
    assert {part.weight_fraction for part in contributions(indebted, MARKS, scenarios, TERMS).holdings} == {None}
    found = alternatives(indebted, MARKS, scenarios, TERMS)
    assert {each.var_95_fraction for each in found} == {None}
    assert None not in {each.var_95 for each in found if each.method is not Method.CORNISH_FISHER}
