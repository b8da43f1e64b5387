"""Revaluation: real closes by hand, and the laws that hold for any book."""

import dataclasses
import math
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator
from scipy.sparse import csr_array

from plimsoll.risk.arrays import FloatArray, Sparse
from plimsoll.risk.measures import Choice, Measures, aggregate
from plimsoll.risk.methods import Method, Model, ScenarioPnl
from plimsoll.risk.scenarios import Closes, Opinion, build
from plimsoll.risk.tails import tail_risk
from plimsoll.risk.valuation import (
    DENSE_SYMBOLS_MAX,
    Market,
    exposures,
    holdings,
    live_scale,
    market_of,
    revalue,
    scenario_pnl,
    tails,
)
from plimsoll.risk.volatility import ewma_volatility
from producer import closes as bundled

pytestmark = pytest.mark.filterwarnings("error")

SYMBOLS = 20
SCENARIOS = 250
SESSIONS = 400
CHOICE = Choice(risk_free=0.01)
MONEY = (
    "market_value", "gross_exposure", "net_exposure", "long_exposure", "short_exposure", "cash", "var_95", "var_99",
    "es_975", "day_pnl",
)  # fmt: skip
FRACTIONS = (
    "var_95_fraction", "var_99_fraction", "es_975_fraction", "volatility", "expected_return", "beta", "tracking_error",
    "max_drawdown", "effective_names", "risk_score", "risk_number", "risk_number_structural", "coverage",
)  # fmt: skip
RATIOS = ("sharpe_ratio", "sortino_ratio")
ALL = (*MONEY, *FRACTIONS, *RATIOS)


def _market(dtype: type[np.floating[Any]] = np.float64, symbols: int = SYMBOLS) -> Market:
    """A market of the same laws for all symbols, in which it is stormier now than it was."""
    rng = np.random.default_rng(11)
    benchmark = 0.01 * rng.standard_normal(SESSIONS)
    long_run = rng.uniform(0.5, 1.5, (symbols, 1)) * benchmark + 0.015 * rng.standard_normal((symbols, SESSIONS))
    mark = rng.uniform(10.0, 500.0, symbols)
    return Market(
        mark=mark,
        previous_close=mark * rng.uniform(0.98, 1.02, symbols),
        historical=np.ascontiguousarray(long_run[:, -SCENARIOS:], dtype),
        filtered=np.ascontiguousarray(long_run[:, -SCENARIOS:] * rng.uniform(0.9, 2.0, SCENARIOS), dtype),
        own_history=rng.random(symbols) < 0.8,
        benchmark_returns=benchmark[-SCENARIOS:],
        long_run=np.ascontiguousarray(long_run, dtype),
        volatility_now=rng.uniform(0.01, 0.03, symbols),
        valued=np.ones(symbols, np.bool_),
    )


def _small(returns: FloatArray, **changes: Any) -> Market:
    """A market that did the same filtered as it did in the window, and over a long run that is the window."""
    symbols, scenarios = returns.shape
    whole: dict[str, Any] = {
        "mark": np.full(symbols, 10.0),
        "previous_close": np.full(symbols, np.nan),
        "historical": returns,
        "filtered": returns,
        "own_history": np.ones(symbols, np.bool_),
        "benchmark_returns": np.linspace(-0.01, 0.01, scenarios),
        "long_run": returns,
        "volatility_now": np.full(symbols, 0.01),
        "valued": np.ones(symbols, np.bool_),
    }
    return Market(**(whole | changes))


def _book(portfolios: int, seed: int = 5, shorts: float = 0.2, symbols: int = SYMBOLS) -> tuple[Sparse, FloatArray]:
    rng = np.random.default_rng(seed)
    quantity = np.round(rng.lognormal(4.0, 1.0, (portfolios, symbols)))
    quantity *= np.where(rng.random(quantity.shape) < shorts, -1.0, 1.0)
    quantity *= rng.random(quantity.shape) < 0.75
    return csr_array(quantity), rng.uniform(1e5, 2e5, portfolios)


def _same(one: Measures, other: Measures, names: tuple[str, ...] = ALL, **tolerance: float) -> None:
    for name in names:
        assert getattr(one, name) == pytest.approx(getattr(other, name), nan_ok=True, **tolerance), name


def test_who_is_only_long_or_only_short_has_exactly_nothing_of_the_other_side() -> None:
    """Positions come in the order in which they are stated, and net and gross exposure are summed in two."""
    market, (quantity, cash) = _market(), _book(20, shorts=0.0)
    for first, end in pairwise(quantity.indptr):
        quantity.indices[first:end] = quantity.indices[first:end][::-1].copy()
        quantity.data[first:end] = quantity.data[first:end][::-1].copy()
    long, short = revalue(quantity, cash, market), revalue(-quantity, cash, market)
    assert not long.short_exposure.any()
    assert not short.long_exposure.any()
    assert (long.long_exposure > 0.0).all()
    assert (short.short_exposure < 0.0).all()


def test_the_order_in_which_positions_are_stated_changes_nothing() -> None:
    """A sparse product sorts its indices in place; shared with the quantities, it gave them to other symbols."""
    market, (quantity, cash) = _market(), _book(20)
    backwards = csr_array(quantity)
    for first, end in pairwise(backwards.indptr):
        backwards.indices[first:end] = backwards.indices[first:end][::-1].copy()
        backwards.data[first:end] = backwards.data[first:end][::-1].copy()
    found = revalue(backwards, cash, market)
    assert found.day_pnl == pytest.approx(quantity.toarray() @ (market.mark - market.previous_close), rel=1e-12)
    _same(found, revalue(quantity, cash, market), rel=1e-9)


# --- by hand ----------------------------------------------------------------------------------------------------------


@cache
def _closes_until(session: str) -> Closes:
    known = bundled.load()
    count = known.sessions.index(session) + 1
    order = np.argsort(known.symbols)
    symbols = tuple(known.symbols[column] for column in order)
    return Closes(known.sessions[:count], symbols, known.matrix[:count, order])


def test_one_portfolio_by_hand() -> None:
    """500 real sessions up to the eve of the COVID crash, and every figure again with plain numpy."""
    closes = _closes_until("2020-02-19")
    scenarios = build(closes, "SP500", 500)
    held = {"AAPL": 100.0, "JPM": 50.0, "KO": -200.0, "XOM": 300.0}
    cash, risk_free = 5_000.0, 0.015
    before, last = (dict(zip(closes.symbols, prices, strict=True)) for prices in closes.price[-2:].tolist())
    market = market_of(
        scenarios,
        list(held),
        {},
        np.array([last[symbol] for symbol in held]),
        np.array([before[symbol] for symbol in held]),
        np.float64,
    )

    measured = revalue(csr_array([list(held.values())]), np.array([cash]), market, Choice(risk_free=risk_free))

    columns = [closes.symbols.index(symbol) for symbol in (*held, "SP500")]
    # Five years of returns, and what each was thought to vary by on the day before it: from 1,260 returns ago.
    change = closes.price[-1260:, columns] / closes.price[-1261:-1, columns] - 1.0
    forecast = ewma_volatility(change, 0.94)
    value = {symbol: quantity * last[symbol] for symbol, quantity in held.items()}
    total, gross = sum(value.values()) + cash, sum(abs(each) for each in value.values())
    long_run = change[:, :4] @ np.array(list(value.values()))
    filtered = (change * forecast[-1] / forecast[:-1])[-500:, :4] @ np.array(list(value.values()))
    pnl = long_run[-500:]
    returns, index = pnl / total, change[-500:, 4]
    worst = np.sort(-filtered)[::-1]
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    deviation, mean = np.std(returns, ddof=1), returns.mean()
    curve = PchipInterpolator([0, 1.5, 5.5, 9.5, 15, 20, 25, 35, 40, 55], [1, 20, 35, 50, 70, 85, 90, 95, 97, 99])
    current, structural = (
        float(curve(100.0 * (1.6449 * np.std(each, ddof=1) * math.sqrt(126) - 126 * long_run.mean()) / total))
        for each in (filtered, long_run)
    )
    expected = {
        "market_value": total,
        "gross_exposure": gross,
        "net_exposure": total - cash,
        "long_exposure": sum(each for each in value.values() if each > 0.0),
        "short_exposure": value["KO"],
        "cash": cash,
        "var_95": np.quantile(-filtered, 0.95, method="inverted_cdf"),
        "var_99": np.quantile(-filtered, 0.99, method="inverted_cdf"),
        # 2.5 % of 500 are twelve scenarios and a half.
        "es_975": (worst[:12].sum() + 0.5 * worst[12]) / 12.5,
        "var_95_fraction": worst[25] / total,
        "var_99_fraction": worst[5] / total,
        "es_975_fraction": (worst[:12].sum() + 0.5 * worst[12]) / 12.5 / total,
        "volatility": deviation * math.sqrt(252),
        "expected_return": mean * 252,
        "sharpe_ratio": (mean - risk_free / 252) / deviation * math.sqrt(252),
        "sortino_ratio": (mean - risk_free / 252)
        / np.sqrt(np.mean(np.minimum(returns - risk_free / 252, 0.0) ** 2))
        * math.sqrt(252),
        "beta": np.cov(returns, index)[0, 1] / np.var(index, ddof=1),
        "tracking_error": np.std(returns - index, ddof=1) * math.sqrt(252),
        "max_drawdown": (wealth / np.maximum.accumulate(wealth)).min() - 1.0,
        "effective_names": 1.0 / sum((each / gross) ** 2 for each in value.values()),
        "risk_number": math.floor(current + 0.5),
        "risk_number_structural": math.floor(structural + 0.5),
        "day_pnl": sum(quantity * (last[symbol] - before[symbol]) for symbol, quantity in held.items()),
        "coverage": 1.0,
    }
    assert measured.rows()[0] == pytest.approx(expected, rel=1e-9)
    assert measured.risk_score[0] == pytest.approx(current)
    assert measured.var_95_scenario[0] == np.flatnonzero(filtered == np.sort(filtered)[25])[0]
    # It is not a test of zeros: the market value is that of adjusted closes, and KO is held short.
    assert total > 20_000.0 > expected["var_95"] > 100.0
    assert abs(current - structural) > 3.0


def test_cash_alone_risks_nothing() -> None:
    measured = revalue(csr_array((1, SYMBOLS)), np.array([1_000.0]), _market(), Choice(risk_free=0.02))
    row = measured.rows()[0]
    assert row["market_value"] == row["cash"] == 1_000.0
    assert row["var_95"] == row["es_975"] == row["volatility"] == row["max_drawdown"] == row["beta"] == 0.0
    assert row["sharpe_ratio"] is row["effective_names"] is None
    # It falls short of the risk-free rate by the same each day.
    assert row["sortino_ratio"] == pytest.approx(-math.sqrt(252))
    assert row["risk_number"] == row["risk_number_structural"] == 1
    assert row["coverage"] == 1.0


def test_an_empty_portfolio_has_no_fractions() -> None:
    row = revalue(csr_array((1, SYMBOLS)), np.zeros(1), _market()).rows()[0]
    assert row["market_value"] == row["var_95"] == 0.0
    assert row["var_95_fraction"] is row["volatility"] is row["risk_number"] is None


def test_no_portfolios_have_no_measures() -> None:
    measured = revalue(csr_array((0, SYMBOLS)), np.zeros(0), _market(np.float32))
    assert measured.rows() == []
    assert measured.var_95_scenario.shape == (0,)


def test_portfolios_in_a_market_without_symbols_are_their_cash() -> None:
    market = _small(np.zeros((0, 100)))
    measured = revalue(csr_array((2, 0)), np.array([10.0, -10.0]), market)
    assert measured.market_value.tolist() == [10.0, -10.0]
    assert measured.coverage.tolist() == [1.0, 1.0]


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_symbol_never_priced_contributes_nothing() -> None:
    market, (quantity, cash) = _market(), _book(3)
    mark = market.mark.copy()
    mark[[2, 7]] = np.nan
    unpriced = dataclasses.replace(market, mark=mark)
    without = quantity.toarray()
    without[:, [2, 7]] = 0.0
    _same(revalue(quantity, cash, unpriced), revalue(csr_array(without), cash, market), rel=1e-12)


def test_coverage_is_the_share_of_exposure_with_a_history_of_its_own() -> None:
    market = _small(
        np.random.default_rng(1).standard_normal((3, 100)) * 0.01,
        mark=np.array([10.0, 20.0, np.nan]),
        previous_close=np.array([9.0, np.nan, np.nan]),
        own_history=np.array([True, False, True]),
    )
    quantity = csr_array([[3.0, -1.0, 5.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    measured = revalue(quantity, np.full(4, 100.0), market)
    # 30 of 50; only an unpriced symbol; nothing at all; only a proxied one.
    assert measured.coverage.tolist() == [0.6, 0.0, 1.0, 0.0]
    # Only the first symbol has a close before.
    assert measured.day_pnl.tolist() == [3.0, 0.0, 0.0, 0.0]
    assert measured.market_value.tolist() == [110.0, 100.0, 100.0, 140.0]


def test_a_position_of_nothing_is_no_position() -> None:
    quantity = csr_array((np.array([0.0]), np.array([2]), np.array([0, 1])), shape=(1, SYMBOLS))
    assert revalue(quantity, np.ones(1), _market()).coverage[0] == 1.0


def test_a_borrower_below_zero_has_money_measures_only() -> None:
    quantity, _ = _book(1, shorts=0.0)
    row = revalue(quantity, np.array([-1e9]), _market()).rows()[0]
    assert row["market_value"] < 0.0 < row["var_95"]
    assert row["var_95_fraction"] is row["sharpe_ratio"] is row["risk_number"] is row["beta"] is None


def test_a_value_that_is_only_rounding_is_zero() -> None:
    market = dataclasses.replace(_market(), mark=np.array([0.1, 0.2, 0.3, *np.ones(SYMBOLS - 3)]))
    quantity = np.zeros((1, SYMBOLS))
    quantity[0, :3] = 1.0, 1.0, -1.0
    measured = revalue(csr_array(quantity), np.zeros(1), market)
    assert 0.0 < measured.market_value[0] < 1e-16
    assert np.isnan(measured.var_95_fraction[0])


def test_a_ruinous_borrower_does_not_disturb() -> None:
    quantity, _ = _book(1, shorts=0.0)
    market = _market(np.float32)
    owned = float((quantity @ market.mark)[0])
    row = revalue(quantity, np.array([1e-6 * owned - owned]), market).rows()[0]
    assert row["max_drawdown"] == -1.0
    assert row["risk_number"] == 99
    assert all(value is None or math.isfinite(value) for value in row.values())


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    market = _market()
    for name in ("previous_close", "own_history", "long_run", "volatility_now", "valued"):
        with pytest.raises(ValueError, match=r"20 marks .*\b19\b"):
            dataclasses.replace(market, **{name: getattr(market, name)[1:]})
    with pytest.raises(ValueError, match="249 benchmark returns"):
        dataclasses.replace(market, benchmark_returns=market.benchmark_returns[1:])
    with pytest.raises(ValueError, match=r"of shape \(20, 250\) and \(19, 250\)"):
        dataclasses.replace(market, filtered=market.filtered[1:])


# --- laws -------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), factor=st.floats(0.001, 1_000.0))
def test_scaling_a_portfolio_scales_money_and_leaves_fractions_alone(seed: int, factor: float) -> None:
    market, (quantity, cash) = _market(), _book(4, seed)
    before, after = revalue(quantity, cash, market, CHOICE), revalue(factor * quantity, factor * cash, market, CHOICE)
    for name in MONEY:
        assert getattr(after, name) == pytest.approx(factor * getattr(before, name), rel=1e-9, abs=1e-9), name
    _same(before, after, (*FRACTIONS, *RATIOS), rel=1e-9, abs=1e-12)


WIDE = DENSE_SYMBOLS_MAX + 1
"""So many symbols that their returns are multiplied one by one, in the same order for whoever holds them."""
ROUNDING = {np.float32: 1e-4, np.float64: 1e-10}
"""Relative, of what passes through zero as well: with fewer symbols a product rounds by the shape of its batch."""


def _rows(measures: Measures, rows: Any) -> Measures:
    return Measures(**{field.name: getattr(measures, field.name)[rows] for field in dataclasses.fields(measures)})


def _identical(one: Measures, other: Measures) -> None:
    for field in dataclasses.fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name), equal_nan=True), field.name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), dtype=st.sampled_from([np.float32, np.float64]))
def test_the_order_of_portfolios_does_not_matter(seed: int, dtype: type[np.floating[Any]]) -> None:
    order = np.random.default_rng(seed).permutation(12)
    market, (quantity, cash) = _market(dtype, WIDE), _book(12, seed, symbols=WIDE)
    in_order, shuffled = revalue(quantity, cash, market, CHOICE), revalue(quantity[order], cash[order], market, CHOICE)
    _identical(_rows(in_order, order), shuffled)
    market, (quantity, cash) = _market(dtype), _book(12, seed)
    in_order, shuffled = revalue(quantity, cash, market, CHOICE), revalue(quantity[order], cash[order], market, CHOICE)
    continuous = tuple(name for name in ALL if not name.startswith("risk_number"))
    _same(_rows(in_order, order), shuffled, continuous, rel=ROUNDING[dtype], abs=ROUNDING[dtype])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), deposit=st.floats(0.0, 1e6))
def test_cash_changes_value_and_not_what_is_at_risk(seed: int, deposit: float) -> None:
    market, (quantity, cash) = _market(), _book(4, seed)
    before, after = revalue(quantity, cash, market), revalue(quantity, cash + deposit, market)
    assert after.market_value == pytest.approx(before.market_value + deposit)
    unmoved = ("gross_exposure", "net_exposure", "var_95", "var_99", "es_975", "day_pnl", "effective_names", "coverage")
    _same(before, after, unmoved, rel=0.0, abs=0.0)
    assert (np.nan_to_num(after.volatility, nan=0.0) <= np.nan_to_num(before.volatility, nan=np.inf)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_equals_its_portfolios_one_at_a_time(dtype: type[np.floating[Any]]) -> None:
    """Across the chunks, and to the last bit but for a dense product: a replay may group updates otherwise."""
    for symbols in (WIDE, SYMBOLS):
        market, (quantity, cash) = _market(dtype, symbols), _book(1_100, symbols=symbols)
        batch = revalue(quantity, cash, market, CHOICE)
        for row in (0, 1, 261, 262, 263, 523, 524, 525, 1_047, 1_048, 1_049, 1_098, 1_099):
            alone = revalue(quantity[row : row + 1], cash[row : row + 1], market, CHOICE)
            if symbols == WIDE:
                _identical(_rows(batch, slice(row, row + 1)), alone)
            else:
                _same(_rows(batch, slice(row, row + 1)), alone, rel=ROUNDING[dtype], abs=ROUNDING[dtype])


def test_float32_agrees_with_float64() -> None:
    quantity, cash = _book(600)
    cash += 1e6
    narrow, wide = revalue(quantity, cash, _market(np.float32), CHOICE), revalue(quantity, cash, _market(), CHOICE)
    assert np.isfinite(wide.volatility).all()
    _same(narrow, wide, MONEY, rel=1e-5)
    _same(narrow, wide, ("var_95_fraction", "var_99_fraction", "es_975_fraction"), rel=1e-5)
    _same(narrow, wide, ("volatility", "max_drawdown", "effective_names", "risk_score", "coverage"), rel=1e-5)
    # These three pass through zero, where no digits are left to compare.
    _same(narrow, wide, ("expected_return", "sharpe_ratio", "beta"), rel=1e-5, abs=1e-6)
    assert (np.abs(narrow.risk_number - wide.risk_number) <= 1).all()


def test_scenario_pnl_keeps_the_precision_of_the_returns_and_takes_dense_or_sparse() -> None:
    quantity, _ = _book(5)
    for dtype in (np.float32, np.float64):
        returns = _market(dtype).filtered
        sparse, dense = scenario_pnl(quantity, returns), scenario_pnl(quantity.toarray(), returns)
        assert sparse.dtype == dense.dtype == dtype
        assert sparse.shape == (5, SCENARIOS)
        assert sparse == pytest.approx(dense, rel=1e-4, abs=1e-3)


def _long_run(market: Market, quantity: Sparse) -> FloatArray:
    return scenario_pnl(exposures(quantity, market.mark), market.long_run)


def _lived_through(market: Market, quantity: Sparse) -> ScenarioPnl:
    exposure = exposures(quantity, market.mark)
    return ScenarioPnl(scenario_pnl(exposure, market.historical), scenario_pnl(exposure, market.filtered))


@pytest.mark.parametrize("method", Method)
def test_an_aggregate_of_one_portfolio_says_what_the_portfolio_says(method: Method) -> None:
    market, (quantity, cash), choice = _market(), _book(1), Choice(method, Model(draws=400), 0.01)
    alone = revalue(quantity, cash, market, choice)
    held = holdings(quantity, exposures(quantity, market.mark), cash, market)
    pnl, long_run = _lived_through(market, quantity), _long_run(market, quantity)
    _same(aggregate(held, pnl, long_run, market.benchmark_returns, choice), alone, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_an_advisor_never_risks_more_than_the_portfolios_one_by_one(seed: int) -> None:
    market, (quantity, cash) = _market(), _book(5, seed)
    apart = revalue(quantity, cash, market)
    together = revalue(csr_array(quantity.sum(axis=0)[None, :]), cash.sum(keepdims=True), market)
    assert together.market_value[0] == pytest.approx(apart.market_value.sum())
    assert together.day_pnl[0] == pytest.approx(apart.day_pnl.sum())
    assert together.es_975[0] <= apart.es_975.sum() * (1.0 + 1e-12)


# --- tails alone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", Method)
def test_tails_alone_are_those_of_all_measures(method: Method) -> None:
    market, (quantity, cash), choice = _market(np.float32), _book(30), Choice(method, Model(draws=400))
    measured = revalue(quantity, cash, market, choice)
    var_95, var_99, es_975 = tails(quantity, market, choice=choice)
    assert np.array_equal(var_95.value_at_risk, measured.var_95, equal_nan=True)
    assert np.array_equal(var_99.value_at_risk, measured.var_99, equal_nan=True)
    assert np.array_equal(es_975.expected_shortfall, measured.es_975, equal_nan=True)


# --- the volatility of today ------------------------------------------------------------------------------------------


def test_live_scale_by_hand() -> None:
    market = _small(
        np.zeros((4, 100)),
        mark=np.array([102.0, 100.0, np.nan, 50.0]),
        previous_close=np.array([100.0, 100.0, 10.0, np.nan]),
        volatility_now=np.array([0.01, 0.01, 0.01, np.nan]),
    )
    # A move of two deviations: 0.94 + 0.06 x 4 of the variance. None at all: 0.94. Not known: as at the close.
    assert live_scale(market, 0.94) == pytest.approx([math.sqrt(1.18), math.sqrt(0.94), 1.0, 1.0])
    # The variance that comes of it is the recursion's own.
    assert (0.01 * live_scale(market, 0.94)[0]) ** 2 == pytest.approx(0.94 * 0.01**2 + 0.06 * 0.02**2)


def test_a_name_that_never_moved_has_the_volatility_of_its_close() -> None:
    still = _small(np.zeros((1, 100)), previous_close=np.array([10.0]), volatility_now=np.zeros(1))
    assert live_scale(still, 0.94).tolist() == [1.0]


def test_live_volatility_scales_what_is_filtered_and_nothing_else() -> None:
    market, (quantity, cash) = _market(), _book(3)
    scale = live_scale(market, 0.94)
    frozen, live = revalue(quantity, cash, market, CHOICE), revalue(quantity, cash, market, CHOICE, scale)
    by_hand = dataclasses.replace(market, filtered=market.filtered * scale[:, None])
    _same(live, revalue(quantity, cash, by_hand, CHOICE), rel=1e-12)
    follows = {"var_95", "var_99", "es_975", "var_95_fraction", "var_99_fraction", "es_975_fraction", "risk_score"}
    _same(live, frozen, tuple(name for name in ALL if name not in follows | {"risk_number"}), rel=0.0, abs=0.0)
    assert not np.array_equal(live.var_95, frozen.var_95)


# --- the long run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbols", [1, 20, SESSIONS - 1, SESSIONS, SESSIONS + 50])
def test_the_factor_of_the_long_run_has_its_variance_for_few_symbols_and_for_many(symbols: int) -> None:
    market, rng = _market(symbols=symbols), np.random.default_rng(1)
    exposure = rng.normal(0.0, 1_000.0, (3, symbols))
    pnl = exposure @ market.long_run
    assert ((exposure @ market.long_run_factor) ** 2).sum(axis=1) == pytest.approx(pnl.var(axis=1, ddof=1), rel=1e-9)
    assert exposure @ market.long_run_mean == pytest.approx(pnl.mean(axis=1), rel=1e-9)
    assert market.long_run_factor.shape[1] == min(symbols, SESSIONS)


# --- a market of symbols ----------------------------------------------------------------------------------------------


def test_the_risk_of_a_proxied_symbol_is_that_of_its_proxy() -> None:
    scenarios = build(_closes_until("2022-12-28"), "SP500", 250)
    opinions = {"NEWCO": Opinion(0.6, 1.2)}
    market = market_of(scenarios, ["NEWCO"], opinions, np.array([50.0]), np.array([np.nan]), np.float64)
    row = revalue(csr_array([[10.0]]), np.zeros(1), market).rows()[0]
    assert row["volatility"] == pytest.approx(0.6)
    assert row["beta"] == pytest.approx(1.2)
    assert row["coverage"] == row["day_pnl"] == 0.0
    assert live_scale(market, 0.94).tolist() == [1.0]


def test_a_symbol_that_has_neither_history_nor_proxy_is_not_valued() -> None:
    scenarios = build(_closes_until("2022-12-28"), None, 250)
    mark = np.array([50.0, 100.0])
    market = market_of(scenarios, ["NEWCO", "AAPL"], {"NEWCO": Opinion(0.6, 1.2)}, mark, mark, np.float64)
    assert np.isnan(market.mark).tolist() == [True, False]
    # No price makes it one that is.
    market.remark(np.array([60.0, 110.0]))
    assert market.mark == pytest.approx([math.nan, 110.0], nan_ok=True)
    assert revalue(csr_array([[1.0, 1.0]]), np.zeros(1), market).market_value[0] == 110.0


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_the_order_of_symbols_does_not_matter(seed: int) -> None:
    scenarios = build(_closes_until("2022-12-28"), "SP500", 250)
    symbols = [symbol for symbol in scenarios.symbols if symbol != "SP500"]
    order = np.random.default_rng(seed).permutation(SYMBOLS)
    quantity, cash = _book(3, seed)
    mark = np.random.default_rng(seed).uniform(10.0, 100.0, SYMBOLS)
    one = market_of(scenarios, symbols, {}, mark, mark, np.float64)
    other = market_of(scenarios, [symbols[at] for at in order], {}, mark[order], mark[order], np.float64)
    turned = csr_array(quantity.toarray()[:, order])
    _same(revalue(quantity, cash, one, CHOICE), revalue(turned, cash, other, CHOICE), rel=1e-9, abs=1e-9)


def test_a_window_is_measured_by_its_own_tail() -> None:
    for window in (250, 2_000):
        scenarios = build(_closes_until("2022-12-28"), "SP500", window)
        market = market_of(scenarios, ["AAPL"], {}, np.array([100.0]), np.array([100.0]), np.float64)
        measured = revalue(csr_array([[1.0]]), np.zeros(1), market)
        alone = 100.0 * scenarios.filtered[:, scenarios.symbols.index("AAPL")]
        assert measured.var_99[0] == pytest.approx(np.quantile(-alone, 0.99, method="inverted_cdf"), rel=1e-12)
        assert measured.es_975[0] == pytest.approx(tail_risk(alone[None, :], [0.025])[0].expected_shortfall[0])
