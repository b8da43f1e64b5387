"""Revaluation: real closes by hand, and the laws that hold for any book."""

import csv
import dataclasses
import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator
from scipy.sparse import csr_array

from plimsoll.risk.arrays import FloatArray, Sparse
from plimsoll.risk.measures import Measures, aggregate
from plimsoll.risk.scenarios import build, proxy_returns
from plimsoll.risk.valuation import Market, revalue, scenario_pnl

pytestmark = pytest.mark.filterwarnings("error")

DATA = Path(__file__).parents[3] / "producer" / "data"
SYMBOLS = 20
SCENARIOS = 250
MONEY = ("market_value", "gross_exposure", "net_exposure", "cash", "var_95", "var_99", "es_975", "day_pnl")
FRACTIONS = (
    "var_95_fraction", "var_99_fraction", "es_975_fraction", "volatility", "expected_return", "beta", "max_drawdown",
    "effective_names", "risk_score", "risk_number", "coverage",
)  # fmt: skip
ALL = (*MONEY, *FRACTIONS, "sharpe_ratio")


def _market(dtype: type[np.floating[Any]] = np.float64) -> Market:
    rng = np.random.default_rng(11)
    benchmark = 0.01 * rng.standard_normal(SCENARIOS)
    returns = rng.uniform(0.5, 1.5, (SYMBOLS, 1)) * benchmark + 0.015 * rng.standard_normal((SYMBOLS, SCENARIOS))
    mark = rng.uniform(10.0, 500.0, SYMBOLS)
    return Market(
        mark=mark,
        previous_close=mark * rng.uniform(0.98, 1.02, SYMBOLS),
        returns=np.ascontiguousarray(returns, dtype),
        own_history=rng.random(SYMBOLS) < 0.8,
        benchmark_returns=benchmark,
    )


def _book(portfolios: int, seed: int = 5, shorts: float = 0.2) -> tuple[Sparse, FloatArray]:
    rng = np.random.default_rng(seed)
    quantity = np.round(rng.lognormal(4.0, 1.0, (portfolios, SYMBOLS)))
    quantity *= np.where(rng.random(quantity.shape) < shorts, -1.0, 1.0)
    quantity *= rng.random(quantity.shape) < 0.75
    return csr_array(quantity), rng.uniform(1e5, 2e5, portfolios)


def _same(one: Measures, other: Measures, names: tuple[str, ...] = ALL, **tolerance: float) -> None:
    for name in names:
        assert getattr(one, name) == pytest.approx(getattr(other, name), nan_ok=True, **tolerance), name


# --- by hand ------------------------------------------------------------------------------------------------------


def _read_closes() -> list[tuple[str, dict[str, float]]]:
    closes: dict[str, dict[str, float]] = {}
    for name in ("sp500_dataset", "sp500_index"):
        with gzip.open(DATA / f"{name}.csv.gz", "rt") as lines:
            for row in csv.DictReader(lines):
                prices = {symbol: float(price) for symbol, price in row.items() if symbol != "Date"}
                closes.setdefault(row["Date"], {}).update(prices)
    return sorted(closes.items())


def test_one_portfolio_by_hand() -> None:
    """500 real sessions up to the eve of the COVID crash, and every figure again with plain numpy."""
    closes = [(session, prices) for session, prices in _read_closes() if session <= "2020-02-19"]
    scenarios = build(closes, "SP500", 500)
    held = {"AAPL": 100.0, "JPM": 50.0, "KO": -200.0, "XOM": 300.0}
    cash, risk_free = 5_000.0, 0.015
    last, before = closes[-1][1], closes[-2][1]
    market = Market(
        mark=np.array([last[symbol] for symbol in held]),
        previous_close=np.array([before[symbol] for symbol in held]),
        returns=np.stack([scenarios.returns_of(symbol) for symbol in held]),
        own_history=np.ones(4, np.bool_),
        benchmark_returns=scenarios.benchmark_returns,
    )

    measured = revalue(csr_array([list(held.values())]), np.array([cash]), market, risk_free)

    price = {symbol: np.array([prices[symbol] for _, prices in closes[-501:]]) for symbol in (*held, "SP500")}
    value = {symbol: quantity * last[symbol] for symbol, quantity in held.items()}
    total, gross = sum(value.values()) + cash, sum(abs(each) for each in value.values())
    pnl = sum(value[symbol] * np.diff(price[symbol]) / price[symbol][:-1] for symbol in held)
    returns, index = pnl / total, np.diff(price["SP500"]) / price["SP500"][:-1]
    worst = np.sort(-pnl)[::-1]
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    deviation, mean = np.std(returns, ddof=1), returns.mean()
    loss = 100.0 * (1.6449 * deviation * math.sqrt(126) - 126 * mean)
    curve = PchipInterpolator([0, 1.5, 5.5, 9.5, 15, 20, 25, 35, 40, 55], [1, 20, 35, 50, 70, 85, 90, 95, 97, 99])
    expected = {
        "market_value": total,
        "gross_exposure": gross,
        "net_exposure": total - cash,
        "cash": cash,
        "var_95": np.quantile(-pnl, 0.95, method="inverted_cdf"),
        "var_99": np.quantile(-pnl, 0.99, method="inverted_cdf"),
        # 2.5 % of 500 are twelve scenarios and a half.
        "es_975": (worst[:12].sum() + 0.5 * worst[12]) / 12.5,
        "var_95_fraction": worst[25] / total,
        "var_99_fraction": worst[5] / total,
        "es_975_fraction": (worst[:12].sum() + 0.5 * worst[12]) / 12.5 / total,
        "volatility": deviation * math.sqrt(252),
        "expected_return": mean * 252,
        "sharpe_ratio": (mean - risk_free / 252) / deviation * math.sqrt(252),
        "beta": np.cov(returns, index)[0, 1] / np.var(index, ddof=1),
        "max_drawdown": (wealth / np.maximum.accumulate(wealth)).min() - 1.0,
        "effective_names": 1.0 / sum((each / gross) ** 2 for each in value.values()),
        "risk_number": math.floor(curve(loss) + 0.5),
        "day_pnl": sum(quantity * (last[symbol] - before[symbol]) for symbol, quantity in held.items()),
        "coverage": 1.0,
    }
    assert measured.rows()[0] == pytest.approx(expected, rel=1e-9)
    assert measured.risk_score[0] == pytest.approx(float(curve(loss)))
    assert measured.var_95_scenario[0] == np.flatnonzero(-pnl == -np.sort(pnl)[25])[0]
    # It is not a test of zeros: the market value is that of adjusted closes, and KO is held short.
    assert total > 20_000.0 > expected["var_95"] > 100.0


def test_cash_alone_risks_nothing() -> None:
    measured = revalue(csr_array((1, SYMBOLS)), np.array([1_000.0]), _market(), 0.02)
    row = measured.rows()[0]
    assert row["market_value"] == row["cash"] == 1_000.0
    assert row["var_95"] == row["es_975"] == row["volatility"] == row["max_drawdown"] == row["beta"] == 0.0
    assert row["sharpe_ratio"] is row["effective_names"] is None
    assert row["risk_number"] == 1
    assert row["coverage"] == 1.0


def test_an_empty_portfolio_has_no_fractions() -> None:
    row = revalue(csr_array((1, SYMBOLS)), np.zeros(1), _market(), 0.0).rows()[0]
    assert row["market_value"] == row["var_95"] == 0.0
    assert row["var_95_fraction"] is row["volatility"] is row["risk_number"] is None


def test_no_portfolios_have_no_measures() -> None:
    measured = revalue(csr_array((0, SYMBOLS)), np.zeros(0), _market(np.float32), 0.0)
    assert measured.rows() == []
    assert measured.var_95_scenario.shape == (0,)


def test_portfolios_in_a_market_without_symbols_are_their_cash() -> None:
    market = Market(np.zeros(0), np.zeros(0), np.zeros((0, 100)), np.zeros(0, np.bool_), np.linspace(-0.01, 0.01, 100))
    measured = revalue(csr_array((2, 0)), np.array([10.0, -10.0]), market, 0.0)
    assert measured.market_value.tolist() == [10.0, -10.0]
    assert measured.coverage.tolist() == [1.0, 1.0]


# --- what is missing ----------------------------------------------------------------------------------------------


def test_a_symbol_never_priced_contributes_nothing() -> None:
    market, (quantity, cash) = _market(), _book(3)
    mark = market.mark.copy()
    mark[[2, 7]] = np.nan
    unpriced = dataclasses.replace(market, mark=mark)
    without = quantity.toarray()
    without[:, [2, 7]] = 0.0
    _same(revalue(quantity, cash, unpriced, 0.0), revalue(csr_array(without), cash, market, 0.0), rel=1e-12)


def test_coverage_is_the_share_of_exposure_with_a_history_of_its_own() -> None:
    market = Market(
        mark=np.array([10.0, 20.0, np.nan]),
        previous_close=np.array([9.0, np.nan, np.nan]),
        returns=np.random.default_rng(1).standard_normal((3, 100)) * 0.01,
        own_history=np.array([True, False, True]),
        benchmark_returns=np.linspace(-0.01, 0.01, 100),
    )
    quantity = csr_array([[3.0, -1.0, 5.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    measured = revalue(quantity, np.full(4, 100.0), market, 0.0)
    # 30 of 50; only an unpriced symbol; nothing at all; only a proxied one.
    assert measured.coverage.tolist() == [0.6, 0.0, 1.0, 0.0]
    # Only the first symbol has a close before.
    assert measured.day_pnl.tolist() == [3.0, 0.0, 0.0, 0.0]
    assert measured.market_value.tolist() == [110.0, 100.0, 100.0, 140.0]


def test_a_position_of_nothing_is_no_position() -> None:
    quantity = csr_array((np.array([0.0]), np.array([2]), np.array([0, 1])), shape=(1, SYMBOLS))
    assert revalue(quantity, np.ones(1), _market(), 0.0).coverage[0] == 1.0


def test_a_borrower_below_zero_has_money_measures_only() -> None:
    quantity, _ = _book(1, shorts=0.0)
    row = revalue(quantity, np.array([-1e9]), _market(), 0.0).rows()[0]
    assert row["market_value"] < 0.0 < row["var_95"]
    assert row["var_95_fraction"] is row["sharpe_ratio"] is row["risk_number"] is row["beta"] is None


def test_a_value_that_is_only_rounding_is_zero() -> None:
    market = dataclasses.replace(_market(), mark=np.array([0.1, 0.2, 0.3, *np.ones(SYMBOLS - 3)]))
    quantity = np.zeros((1, SYMBOLS))
    quantity[0, :3] = 1.0, 1.0, -1.0
    measured = revalue(csr_array(quantity), np.zeros(1), market, 0.0)
    assert 0.0 < measured.market_value[0] < 1e-16
    assert np.isnan(measured.var_95_fraction[0])


def test_a_ruinous_borrower_does_not_disturb() -> None:
    quantity, _ = _book(1, shorts=0.0)
    market = _market(np.float32)
    owned = float((quantity @ market.mark)[0])
    row = revalue(quantity, np.array([1e-6 * owned - owned]), market, 0.0).rows()[0]
    assert row["max_drawdown"] == -1.0
    assert row["risk_number"] == 99
    assert all(value is None or math.isfinite(value) for value in row.values())


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    market = _market()
    with pytest.raises(ValueError, match="20 marks, 19 closes"):
        dataclasses.replace(market, previous_close=market.previous_close[1:])
    with pytest.raises(ValueError, match="249 benchmark returns"):
        dataclasses.replace(market, benchmark_returns=market.benchmark_returns[1:])


# --- laws ---------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), factor=st.floats(0.001, 1_000.0))
def test_scaling_a_portfolio_scales_money_and_leaves_fractions_alone(seed: int, factor: float) -> None:
    market, (quantity, cash) = _market(), _book(4, seed)
    before, after = revalue(quantity, cash, market, 0.01), revalue(factor * quantity, factor * cash, market, 0.01)
    for name in MONEY:
        assert getattr(after, name) == pytest.approx(factor * getattr(before, name), rel=1e-9, abs=1e-9), name
    _same(before, after, (*FRACTIONS, "sharpe_ratio"), rel=1e-9, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_the_order_of_portfolios_does_not_matter(seed: int) -> None:
    market, (quantity, cash) = _market(np.float32), _book(12, seed)
    order = np.random.default_rng(seed).permutation(12)
    in_order, shuffled = revalue(quantity, cash, market, 0.01), revalue(quantity[order], cash[order], market, 0.01)
    for field in dataclasses.fields(in_order):
        assert np.array_equal(getattr(in_order, field.name)[order], getattr(shuffled, field.name), equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), deposit=st.floats(0.0, 1e6))
def test_cash_changes_value_and_not_what_is_at_risk(seed: int, deposit: float) -> None:
    market, (quantity, cash) = _market(), _book(4, seed)
    before, after = revalue(quantity, cash, market, 0.0), revalue(quantity, cash + deposit, market, 0.0)
    assert after.market_value == pytest.approx(before.market_value + deposit)
    unmoved = ("gross_exposure", "net_exposure", "var_95", "var_99", "es_975", "day_pnl", "effective_names", "coverage")
    _same(before, after, unmoved, rel=0.0, abs=0.0)
    assert (np.nan_to_num(after.volatility, nan=0.0) <= np.nan_to_num(before.volatility, nan=np.inf)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_equals_its_portfolios_one_at_a_time(dtype: type[np.floating[Any]]) -> None:
    """To the last bit, and across the chunks: a replay that groups updates otherwise says the same."""
    market, (quantity, cash) = _market(dtype), _book(1_100)
    batch = revalue(quantity, cash, market, 0.01)
    for row in (0, 1, 261, 262, 263, 523, 524, 525, 1_098, 1_099):
        alone = revalue(quantity[row : row + 1], cash[row : row + 1], market, 0.01)
        for field in dataclasses.fields(batch):
            together = getattr(batch, field.name)[row : row + 1]
            assert np.array_equal(together, getattr(alone, field.name), equal_nan=True), (field.name, row)


def test_float32_agrees_with_float64() -> None:
    quantity, cash = _book(600)
    cash += 1e6
    narrow, wide = revalue(quantity, cash, _market(np.float32), 0.01), revalue(quantity, cash, _market(), 0.01)
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
        returns = _market(dtype).returns
        sparse, dense = scenario_pnl(quantity, returns), scenario_pnl(quantity.toarray(), returns)
        assert sparse.dtype == dense.dtype == dtype
        assert sparse.shape == (5, SCENARIOS)
        assert sparse == pytest.approx(dense, rel=1e-4, abs=1e-3)


def test_an_aggregate_of_one_portfolio_says_what_the_portfolio_says() -> None:
    market, (quantity, cash) = _market(), _book(1)
    alone = revalue(quantity, cash, market, 0.01)
    pnl = scenario_pnl(quantity.multiply(market.mark).tocsr(), market.returns)[0]
    summed = aggregate(
        pnl,
        market_value=alone.market_value[0],
        gross_exposure=alone.gross_exposure[0],
        net_exposure=alone.net_exposure[0],
        cash=alone.cash[0],
        day_pnl=alone.day_pnl[0],
        covered_exposure=alone.coverage[0] * alone.gross_exposure[0],
        benchmark_returns=market.benchmark_returns,
        risk_free=0.01,
    )
    _same(summed, alone, tuple(name for name in ALL if name != "effective_names"), rel=1e-12)


def test_the_risk_of_a_proxied_symbol_is_that_of_its_proxy() -> None:
    closes = _read_closes()[-101:]
    scenarios = build(closes, "SP500", 100)
    market = Market(
        mark=np.array([50.0]),
        previous_close=np.array([np.nan]),
        returns=proxy_returns(scenarios, "NEWCO", 1.2, 0.6)[None, :],
        own_history=np.array([False]),
        benchmark_returns=scenarios.benchmark_returns,
    )
    row = revalue(csr_array([[10.0]]), np.zeros(1), market, 0.0).rows()[0]
    assert row["volatility"] == pytest.approx(0.6)
    assert row["beta"] == pytest.approx(1.2)
    assert row["coverage"] == row["day_pnl"] == 0.0
