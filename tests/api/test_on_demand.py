from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.decomposition import contributions
from api.on_demand import Terms, holdings, sector_exposures, snapshots, traded, what_if
from api.stresses import shocked
from plimsoll.messages import Mark, RiskSnapshot
from plimsoll.risk.limits import LimitCode
from plimsoll.risk.scenarios import ScenarioSet, build
from plimsoll.risk.stress import Shock
from plimsoll.risk.tails import expected_shortfall, value_at_risk
from plimsoll.settings import Settings

if TYPE_CHECKING:
    from tests.api.conftest import Make

NOW_NS = 1_700_000_000_000_000_000
MARKS = {"AAPL": Mark(100.0, 5, previous_close=99.0), "MSFT": Mark(200.0, 7), "TSLA": Mark(50.0, 6, beta=2.0)}
TERMS = Terms.of(Settings())
small_trades = st.dictionaries(st.sampled_from(["AAPL", "MSFT", "TSLA", "NEW"]), st.floats(-1e4, 1e4), max_size=4)


@pytest.fixture(scope="module")
def scenarios(make: Make) -> ScenarioSet:
    return make.scenario_set(sectors={"MSFT": "Technology"})


def measured(make: Make, scenarios: ScenarioSet, trades: dict[str, float], terms: Terms = TERMS) -> RiskSnapshot:
    record = traded(make.record(), trades)
    (snapshot,) = snapshots([record], MARKS, scenarios, terms, sequence="4", now_ns=NOW_NS)
    return snapshot


@given(small_trades)
def test_money_measures_scale_with_the_portfolio(make: Make, scenarios: ScenarioSet, trades: dict[str, float]) -> None:
    record = traded(make.record(cash=0.0), trades)
    twice = traded(record, dict(zip(record.symbols, record.quantities, strict=True)))
    one, two = snapshots([record, twice], MARKS, scenarios, TERMS, sequence="4", now_ns=NOW_NS)
    for name in ("market_value", "gross_exposure", "long_exposure", "var_95", "var_99", "es_975", "day_pnl"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name), rel=1e-9, abs=1e-6)
    assert one.incomplete_symbols == sorted(set(record.symbols) - MARKS.keys())


@given(small_trades)
def test_who_is_valued_beside_it_changes_no_portfolio(
    make: Make, scenarios: ScenarioSet, trades: dict[str, float]
) -> None:
    others = [make.record("other"), traded(make.record(), trades)]
    _, beside = snapshots(others, MARKS, scenarios, TERMS, sequence="4", now_ns=NOW_NS)
    alone = measured(make, scenarios, trades)
    assert beside.var_95 == pytest.approx(alone.var_95, rel=1e-9, abs=1e-9)
    assert beside.risk_number == alone.risk_number


def test_a_snapshot_says_what_it_was_made_from(make: Make, scenarios: ScenarioSet) -> None:
    snapshot = measured(make, scenarios, {"TSLA": 4.0, "NEW": 1.0, "AAPL": -100.0})
    assert (snapshot.sequence, snapshot.observations, snapshot.method) == ("4", 100, "filtered_historical")
    assert (snapshot.incomplete_symbols, snapshot.proxied_symbols) == (["NEW"], ["TSLA"])
    assert (snapshot.oldest_price_ns, snapshot.as_of_ns) == (6, make.record().event_time_ns)
    assert snapshot.var_95_scenario_date in scenarios.scenario_sessions
    # 50 x 200 of its own history, 4 x 50 by a proxy.
    assert snapshot.coverage == pytest.approx(10_000 / 10_200)


def test_a_position_of_no_units_is_in_no_list_and_in_no_time(make: Make, scenarios: ScenarioSet) -> None:
    record = make.record(symbols=["AAPL", "TSLA", "NEW"], quantities=[1.0, 0.0, 0.0], sectors=[None] * 3)
    found = what_if(record, {"MSFT": 1.0}, MARKS, scenarios, TERMS, sequence="4", now_ns=NOW_NS)
    for snapshot in (found.before, found.after):
        assert (snapshot.incomplete_symbols, snapshot.proxied_symbols, snapshot.coverage) == ([], [], 1.0)
    assert found.before.oldest_price_ns == MARKS["AAPL"].event_time_ns
    assert contributions(record, MARKS, scenarios, TERMS).incomplete_symbols == []
    assert shocked(record, MARKS, scenarios, Shock(-0.1)).incomplete_symbols == []


@pytest.mark.parametrize("method", ["filtered_historical", "historical", "age_weighted"])
def test_the_headline_is_that_of_the_method_in_force(make: Make, scenarios: ScenarioSet, method: str) -> None:
    snapshot = measured(make, scenarios, {}, Terms.of(Settings(method=method, age_decay=0.98)))
    exposure = np.array([10_000.0, 10_000.0, 0.0])
    scenario = scenarios.filtered if method == "filtered_historical" else scenarios.historical
    weight = 0.98 ** np.arange(99.0, -1.0, -1.0)
    likely = weight / weight.sum() if method == "age_weighted" else None
    pnl = (scenario @ exposure)[None, :]
    assert snapshot.method == method
    assert snapshot.var_95 == pytest.approx(value_at_risk(pnl, 0.05, likely)[0])
    assert snapshot.es_975 == pytest.approx(expected_shortfall(pnl, 0.025, likely)[0])


def test_live_volatility_lets_a_move_of_today_count_and_a_calm_day_calm(make: Make, scenarios: ScenarioSet) -> None:
    live = Terms.of(Settings(live_volatility=True))
    trades = {"MSFT": -50.0}
    frozen = measured(make, scenarios, trades)
    # AAPL moved by 1 / 99 today; its volatility is that of the close, and of this move.
    now = scenarios.volatility_now[scenarios.symbols.index("AAPL")]
    scale = np.sqrt(0.94 + 0.06 * (1 / 99 / now) ** 2)
    assert measured(make, scenarios, trades, live).var_95 == pytest.approx(frozen.var_95 * scale)
    assert measured(make, scenarios, trades, live).volatility == pytest.approx(frozen.volatility)


def test_a_portfolio_of_nothing_has_no_risk(make: Make, scenarios: ScenarioSet) -> None:
    snapshot = measured(make, scenarios, {"AAPL": -100.0, "MSFT": -50.0})
    assert (snapshot.market_value, snapshot.var_95, snapshot.es_975, snapshot.risk_number) == (1_000.0, 0.0, 0.0, 1)


# --- what-if ----------------------------------------------------------------------------------------------------------


@given(small_trades)
def test_what_if_says_what_would_be_said_once_the_trades_were_made(
    make: Make, scenarios: ScenarioSet, trades: dict[str, float]
) -> None:
    record = make.record()
    found = what_if(record, trades, MARKS, scenarios, TERMS, sequence="4", now_ns=NOW_NS)
    (before,) = snapshots([record], MARKS, scenarios, TERMS, sequence="4", now_ns=NOW_NS)
    (after,) = snapshots([traded(record, trades)], MARKS, scenarios, TERMS, sequence="4", now_ns=NOW_NS)
    for name in ("market_value", "var_95", "var_99", "es_975", "volatility", "beta", "max_drawdown"):
        for told, alone in ((found.before, before), (found.after, after)):
            expected = getattr(alone, name)
            assert getattr(told, name) == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9))
    assert found.after.risk_number == after.risk_number


def test_breaches_by_hand(make: Make, scenarios: ScenarioSet) -> None:
    # 10,000 each of AAPL and MSFT; then 30,000 of AAPL, and the bound is half.
    terms = Terms.of(Settings(limit_name_fraction=0.6, limit_leverage=0.97))
    found = what_if(make.record(), {"AAPL": 200.0}, MARKS, scenarios, terms, sequence="4", now_ns=NOW_NS)
    told = {breach.code: breach for breach in found.breaches}
    name = told[LimitCode.SINGLE_NAME]
    assert (name.symbol, name.value, name.bound, name.already_breached) == ("AAPL", 0.75, 0.6, False)
    leverage = told[LimitCode.LEVERAGE]
    assert (leverage.value, leverage.already_breached) == (pytest.approx(40_000 / 41_000), False)
    nothing = what_if(make.record(), {}, MARKS, scenarios, terms, sequence="4", now_ns=NOW_NS)
    assert LimitCode.SINGLE_NAME not in {breach.code for breach in nothing.breaches}


def test_a_trade_that_leaves_no_value_says_so_and_nothing_else(make: Make, scenarios: ScenarioSet) -> None:
    found = what_if(make.record(), {"AAPL": -500.0}, MARKS, scenarios, TERMS, sequence="4", now_ns=NOW_NS)
    assert [breach.code for breach in found.breaches] == [LimitCode.NO_VALUE]
    assert found.after.var_95_fraction is None


# --- what is held -----------------------------------------------------------------------------------------------------


def test_weights_of_marked_holdings_and_cash_add_up_to_one(make: Make) -> None:
    record = make.record()
    weights = [holding.weight_fraction or 0.0 for holding in holdings(record, MARKS)]
    assert sum(weights) + record.cash / 21_000.0 == pytest.approx(1.0)


def test_liquidity_days_are_of_a_fifth_of_the_volume_and_unknown_where_there_is_none(make: Make) -> None:
    marks = {"AAPL": Mark(100.0, 5, average_daily_volume=1_000.0), "MSFT": Mark(200.0, 7, average_daily_volume=0.0)}
    record = make.record(symbols=["AAPL", "MSFT", "TSLA"], quantities=[-100.0, 50.0, 1.0], sectors=[None] * 3)
    days = {holding.symbol: holding.liquidity_days for holding in holdings(record, marks)}
    assert days == {"AAPL": 0.5, "MSFT": None, "TSLA": None}


def test_exposures_by_sector_by_hand(make: Make, scenarios: ScenarioSet) -> None:
    record = make.record(
        symbols=["AAPL", "MSFT", "TSLA", "NEW"],
        quantities=[100.0, -20.0, 10.0, 1.0],
        sectors=["Technology", None, None, "Technology"],
    )
    technology, unknown = sector_exposures(record, MARKS, scenarios)
    # MSFT has the sector that the closes state; nobody states that of TSLA; NEW has no mark.
    assert (technology.sector, technology.gross, technology.net) == ("Technology", 14_000.0, 6_000.0)
    assert (technology.long, technology.short) == (10_000.0, -4_000.0)
    assert (unknown.sector, unknown.gross, unknown.net) == (None, 500.0, 500.0)


def test_a_name_that_cannot_be_valued_is_in_no_number_whoever_is_asked(make: Make) -> None:
    # Without a benchmark nothing stands in for TSLA, which has a price and no history.
    scenarios, record = build(make.scenario_set().closes, None, 100), traded(make.record(), {"TSLA": 4.0})
    found = what_if(record, {"TSLA": 1e6}, MARKS, scenarios, TERMS, sequence="4", now_ns=NOW_NS)
    assert found.before.incomplete_symbols == found.after.incomplete_symbols == ["TSLA"]
    held = holdings(record, MARKS, scenarios)
    assert sum(each.market_value or 0.0 for each in held) + record.cash == found.before.market_value == 21_000.0
    assert [(each.symbol, each.mark, each.weight_fraction) for each in held[2:]] == [("TSLA", 50.0, None)]
    assert sum(each.net for each in sector_exposures(record, MARKS, scenarios)) == found.before.net_exposure
    assert "TSLA" not in {breach.symbol for breach in found.breaches}
    shock = shocked(record, MARKS, scenarios, Shock(-0.1))
    assert (shock.pnl, shock.pnl_fraction) == (pytest.approx(-2_000.0), pytest.approx(-2_000.0 / 21_000.0))
    assert shock.incomplete_symbols == ["TSLA"]
