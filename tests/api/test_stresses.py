from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.on_demand import Terms
from api.stresses import shocked, stressed
from plimsoll.messages import Mark
from plimsoll.risk import measures, stress
from plimsoll.risk.scenarios import ScenarioSet
from plimsoll.risk.stress import SHOCK_MAX, SHOCK_MIN, Shock
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Make

MARKS = {"AAPL": Mark(100.0, 5), "MSFT": Mark(200.0, 7), "TSLA": Mark(50.0, 6, beta=2.0, volatility=0.9)}
TERMS = Terms.of(Settings())
COVID = stress.by_id("covid-2020")


@pytest.fixture(scope="module")
def scenarios(make: Make) -> ScenarioSet:
    own = {"covid-2020": {"AAPL": -0.31, "OTHER": -0.9}}
    return make.scenario_set(sectors={"MSFT": "Technology"}, stress_returns=own)


def test_a_name_repeats_its_own_return_where_it_traded_and_follows_the_index_elsewhere(
    make: Make, scenarios: ScenarioSet
) -> None:
    record = make.record(
        symbols=["AAPL", "MSFT", "TSLA", "NEW"], quantities=[100.0, 50.0, 10.0, 1.0], sectors=[None] * 4
    )
    (result,) = stressed(record, MARKS, scenarios, TERMS, [COVID])
    by_symbol = {holding.symbol: holding for holding in result.holdings}
    assert (by_symbol["AAPL"].return_fraction, by_symbol["AAPL"].basis) == (-0.31, "own")
    column = scenarios.historical[:, [scenarios.symbols.index("MSFT")]].T
    beta = measures.beta(column, scenarios.benchmark_returns)[0]
    assert by_symbol["MSFT"].return_fraction == pytest.approx(beta * COVID.index_return)
    # TSLA has no history: the beta of its proxy is the vendor's.
    assert by_symbol["TSLA"].return_fraction == pytest.approx(2.0 * COVID.index_return)
    assert by_symbol["MSFT"].basis == by_symbol["TSLA"].basis == "beta"
    assert result.own_share_fraction == pytest.approx(10_000 / 20_500)
    assert result.pnl == pytest.approx(sum(holding.pnl for holding in result.holdings))
    assert result.pnl == pytest.approx(sum(sector.pnl for sector in result.sectors))
    assert result.pnl_fraction == pytest.approx(result.pnl / 21_500.0)
    assert result.incomplete_symbols == ["NEW"]


def test_a_shock_by_hand(make: Make, scenarios: ScenarioSet) -> None:
    record = make.record(
        symbols=["AAPL", "MSFT", "TSLA", "NEW"],
        quantities=[100.0, -20.0, 10.0, 1.0],
        sectors=["Technology", *[None] * 3],
    )
    shock = Shock(-0.1, {"Technology": -0.2, "Enrgy": -0.5}, {"AAPL": 0.05, "NEW": -1.0, "XMO": 1.0})
    result = shocked(record, MARKS, scenarios, shock)
    # AAPL by its own, MSFT by the sector that the closes state, TSLA by the parallel one; NEW has no price.
    assert [(h.symbol, h.pnl, h.basis) for h in result.holdings] == [
        ("TSLA", pytest.approx(-50.0), "shock"),
        ("AAPL", pytest.approx(500.0), "shock"),
        ("MSFT", pytest.approx(800.0), "shock"),
    ]
    assert {sector.sector: sector.pnl for sector in result.sectors} == {
        "Technology": pytest.approx(1_300.0),
        None: pytest.approx(-50.0),
    }
    assert (result.pnl, result.pnl_fraction) == (pytest.approx(1_250.0), pytest.approx(1_250.0 / 7_500.0))
    assert (result.unused_sectors, result.unused_symbols, result.incomplete_symbols) == (["Enrgy"], ["XMO"], ["NEW"])


def test_what_no_shock_covers_stays_and_says_so(make: Make) -> None:
    result = shocked(make.record(), MARKS, None, Shock(by_symbol={"MSFT": -0.5}))
    assert {h.symbol: (h.pnl, h.basis) for h in result.holdings} == {
        "MSFT": (-5_000.0, "shock"),
        "AAPL": (0.0, "unshocked"),
    }


@given(st.floats(SHOCK_MIN, SHOCK_MAX), st.floats(-1e4, 1e4))
def test_a_parallel_shock_costs_its_fraction_of_net_exposure(make: Make, fraction: float, quantity: float) -> None:
    record = make.record(quantities=[quantity, 50.0])
    result = shocked(record, MARKS, None, Shock(fraction))
    assert result.pnl == pytest.approx(fraction * (100.0 * quantity + 10_000.0), abs=1e-6)
