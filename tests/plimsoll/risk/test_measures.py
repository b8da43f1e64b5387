"""Risk measures of P&L and returns: laws, one case of each by hand, published figures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from scipy.stats import norm

from plimsoll.risk import measures
from plimsoll.risk.arrays import FloatArray

pytestmark = pytest.mark.filterwarnings("error")

TAILS = st.sampled_from([0.05, 0.01, 0.025, 0.1, 0.5])
MONEY = st.floats(-1e6, 1e6)


def _matrices(portfolios: int) -> st.SearchStrategy[FloatArray]:
    scenarios = st.integers(1, 300)
    return scenarios.flatmap(lambda count: arrays(np.float64, (portfolios, count), elements=MONEY))


# --- the tail -----------------------------------------------------------------------------------------------------


@given(pnl=_matrices(3), tail=TAILS)
def test_value_at_risk_is_the_lower_quantile_of_numpy(pnl: FloatArray, tail: float) -> None:
    by_numpy = np.quantile(-pnl, 1.0 - tail, axis=1, method="inverted_cdf")
    assert np.array_equal(measures.value_at_risk(pnl, tail), by_numpy)


@pytest.mark.parametrize("tail", [0.05, 0.025, 0.01])
def test_value_at_risk_is_the_lower_quantile_of_numpy_for_every_number_of_scenarios(tail: float) -> None:
    for scenarios in range(1, 2001):
        loss = np.arange(float(scenarios))
        ours = measures.value_at_risk(-loss[None, :], tail)[0]
        assert ours == np.quantile(loss, 1.0 - tail, method="inverted_cdf"), scenarios


def test_a_tail_with_a_rounding_error_is_the_tail_that_was_meant() -> None:
    assert math.ceil((1.0 - 0.95) * 1000) == 51
    pnl = -np.arange(1000.0)[None, :]
    assert measures.value_at_risk(pnl, 1.0 - 0.95)[0] == measures.value_at_risk(pnl, 0.05)[0] == 949.0
    assert measures.value_at_risk(pnl, 1.0 - 0.99)[0] == measures.value_at_risk(pnl, 0.01)[0] == 989.0
    assert measures.expected_shortfall(pnl, 1.0 - 0.95)[0] == pytest.approx(974.5, abs=1e-9)
    # The error may also fall short: 1 - 0.9 of a thousand is 99.99999999999997.
    assert measures.value_at_risk(pnl, 1.0 - 0.9)[0] == measures.value_at_risk(pnl, 0.1)[0] == 899.0


def test_value_at_risk_by_hand() -> None:
    pnl = np.array([[3.0, -10.0, 1.0, -6.0, -2.0]])
    # A fifth of five is one scenario wholly inside the tail: the next one is the quantile.
    assert measures.value_at_risk(pnl, 0.2)[0] == 6.0
    assert measures.value_at_risk(pnl, 0.19)[0] == 10.0
    assert measures.value_at_risk_scenario(pnl, 0.2)[0] == 3


def test_a_sure_gain_is_a_negative_value_at_risk() -> None:
    pnl = np.array([[3.0, 5.0, 4.0]])
    assert measures.value_at_risk(pnl, 0.05)[0] == -3.0
    assert measures.expected_shortfall(pnl, 0.05)[0] == -3.0


def test_nothing_at_risk_is_zero_and_never_minus_zero() -> None:
    for pnl in (np.zeros((1, 100)), -np.zeros((1, 100)), np.zeros((1, 100), np.float32)):
        assert math.copysign(1.0, measures.value_at_risk(pnl, 0.05)[0]) == 1.0
        assert math.copysign(1.0, measures.expected_shortfall(pnl, 0.025)[0]) == 1.0


@given(pnl=_matrices(2), tail=TAILS)
def test_the_scenario_of_value_at_risk_lost_just_that(pnl: FloatArray, tail: float) -> None:
    scenario = measures.value_at_risk_scenario(pnl, tail)
    assert np.array_equal(-pnl[np.arange(2), scenario], measures.value_at_risk(pnl, tail))


def test_the_scenario_of_value_at_risk_is_the_earliest_of_equals() -> None:
    pnl = np.array([[0.0, -1.0, -5.0, -1.0, -1.0]])
    assert measures.value_at_risk_scenario(pnl, 0.3)[0] == 1


def test_expected_shortfall_by_hand() -> None:
    pnl = np.array([[-10.0, -6.0, -2.0, 1.0, 3.0]])
    # The worst 30 % of five scenarios: all of the -10, half of the -6.
    assert measures.expected_shortfall(pnl, 0.3)[0] == pytest.approx((10 + 6 / 2) / 1.5)
    # Less than one scenario: the worst.
    assert measures.expected_shortfall(pnl, 0.05)[0] == 10.0


@given(pnl=_matrices(2), tail=TAILS)
def test_expected_shortfall_is_the_integral_of_value_at_risk(pnl: FloatArray, tail: float) -> None:
    """Acerbi-Tasche's definition, (1/p) times the integral of the quantile over the tail, piece by piece."""
    scenarios = pnl.shape[1]
    loss = np.sort(-pnl, axis=1)[:, ::-1]
    edge = np.minimum(np.arange(scenarios + 1) / scenarios, tail)
    integral = (loss * np.diff(edge)).sum(axis=1) / tail
    assert measures.expected_shortfall(pnl, tail) == pytest.approx(integral, rel=1e-9, abs=1e-6)


@given(pnl=_matrices(2), tail=TAILS)
def test_expected_shortfall_is_never_less_than_value_at_risk(pnl: FloatArray, tail: float) -> None:
    assert (measures.expected_shortfall(pnl, tail) >= measures.value_at_risk(pnl, tail) - 1e-6).all()


@given(pnl=_matrices(2), tail=TAILS)
def test_holding_two_portfolios_together_is_never_riskier_than_apart(pnl: FloatArray, tail: float) -> None:
    together = measures.expected_shortfall(pnl.sum(axis=0, keepdims=True), tail)
    apart = measures.expected_shortfall(pnl, tail)
    assert together.sum() <= apart.sum() + 1e-5


@given(pnl=_matrices(2), tail=TAILS, factor=st.floats(0.01, 100.0), gift=st.floats(-1e4, 1e4))
def test_tail_measures_scale_with_money_and_fall_by_what_is_given(
    pnl: FloatArray, tail: float, factor: float, gift: float
) -> None:
    for risk in (measures.value_at_risk, measures.expected_shortfall):
        assert risk(factor * pnl + gift, tail) == pytest.approx(factor * risk(pnl, tail) - gift, rel=1e-9, abs=1e-4)


@given(pnl=_matrices(2), tail=TAILS, seed=st.integers(0, 99))
def test_the_order_of_scenarios_does_not_matter_to_the_tail(pnl: FloatArray, tail: float, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(pnl, axis=1)
    assert np.array_equal(measures.value_at_risk(shuffled, tail), measures.value_at_risk(pnl, tail))
    assert np.array_equal(measures.expected_shortfall(shuffled, tail), measures.expected_shortfall(pnl, tail))


def test_published_figures_of_the_normal_law() -> None:
    """Basel's comparison: ES 97.5 % of a normal is 2.3378 standard deviations, VaR 99 % is 2.3263."""
    scenarios = 400_000
    pnl = norm.ppf((np.arange(scenarios) + 0.5) / scenarios)[None, :]
    assert measures.expected_shortfall(pnl, 0.025)[0] == pytest.approx(2.3378, abs=1e-4)
    assert measures.value_at_risk(pnl, 0.01)[0] == pytest.approx(2.3263, abs=1e-4)
    assert measures.value_at_risk(pnl, 0.05)[0] == pytest.approx(1.6449, abs=1e-4)


@pytest.mark.parametrize("tail", [0.0, 1.0, -0.05, 5.0, math.nan])
def test_a_tail_that_is_no_probability_is_refused(tail: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        measures.value_at_risk(np.zeros((1, 10)), tail)


def test_a_tail_of_no_scenarios_is_refused() -> None:
    with pytest.raises(ValueError, match="no scenarios"):
        measures.expected_shortfall(np.zeros((1, 0)), 0.05)


# --- returns ------------------------------------------------------------------------------------------------------


def test_volatility_return_and_sharpe_ratio_by_hand() -> None:
    returns = np.array([[0.01, -0.01, 0.03, 0.01]])
    # Mean 0.01; deviations 0, -0.02, 0.02, 0: variance 0.0008 / 3.
    assert measures.expected_return(returns)[0] == pytest.approx(2.52)
    assert measures.volatility(returns)[0] == pytest.approx(math.sqrt(0.0008 / 3 * 252))
    assert measures.sharpe_ratio(returns, 0.0252)[0] == pytest.approx(0.0099 / math.sqrt(0.0008 / 3) * math.sqrt(252))


@pytest.mark.parametrize("constant", [0.0, 0.001, -0.1, 1e-12])
def test_what_never_swings_has_no_sharpe_ratio(constant: float) -> None:
    returns = np.full((1, 333), constant)
    assert measures.volatility(returns)[0] == 0.0
    assert math.isnan(measures.sharpe_ratio(returns, 0.0)[0])


def test_one_scenario_has_no_volatility() -> None:
    assert math.isnan(measures.volatility(np.ones((1, 1)))[0])
    assert math.isnan(measures.expected_return(np.ones((1, 0)))[0])


def test_beta_by_hand() -> None:
    benchmark = np.array([0.01, -0.01, 0.02, -0.02])
    returns = np.stack([2.0 * benchmark + 0.005, np.full(4, 0.01), -benchmark])
    assert measures.beta(returns, benchmark) == pytest.approx([2.0, 0.0, -1.0], abs=1e-12)


def test_beta_to_a_benchmark_that_never_moves_is_not_defined() -> None:
    assert np.isnan(measures.beta(np.ones((2, 5)), np.zeros(5))).all()
    assert np.isnan(measures.beta(np.ones((2, 0)), np.zeros(0))).all()


def test_beta_is_the_slope_of_least_squares() -> None:
    rng = np.random.default_rng(3)
    benchmark, noise = rng.standard_normal(250) * 0.01 + 0.001, rng.standard_normal(250) * 0.02
    returns = 1.3 * benchmark + noise
    assert measures.beta(returns[None, :], benchmark)[0] == pytest.approx(np.polyfit(benchmark, returns, 1)[0])


def test_max_drawdown_by_hand() -> None:
    # Wealth 1.1, 0.88, 0.968, 0.7744: the deepest is 0.7744 below 1.1.
    assert measures.max_drawdown(np.array([[0.1, -0.2, 0.1, -0.2]]))[0] == pytest.approx(0.7744 / 1.1 - 1.0)
    # The first return counts, because wealth starts at 1 before it.
    assert measures.max_drawdown(np.array([[-0.3, 0.5]]))[0] == pytest.approx(-0.3)


def test_what_never_falls_has_no_drawdown() -> None:
    assert measures.max_drawdown(np.array([[0.1, 0.0, 0.2], [0.0, 0.0, 0.0]])).tolist() == [0.0, 0.0]
    assert measures.max_drawdown(np.zeros((1, 0))).tolist() == [0.0]


def test_ruin_is_the_deepest_drawdown_there_is() -> None:
    assert measures.max_drawdown(np.array([[0.1, -1.5, -1.5, 0.3]]))[0] == -1.0


@given(arrays(np.float64, (2, 60), elements=st.floats(-0.5, 0.5)))
def test_max_drawdown_is_that_of_the_textbook(returns: FloatArray) -> None:
    for row, drawdown in zip(returns, measures.max_drawdown(returns), strict=True):
        wealth, peak, deepest = 1.0, 1.0, 0.0
        for fraction in row:
            wealth *= 1.0 + fraction
            peak = max(peak, wealth)
            deepest = min(deepest, wealth / peak - 1.0)
        assert drawdown == pytest.approx(deepest, abs=1e-12)


def test_float32_returns_are_summed_in_float64() -> None:
    returns = (np.random.default_rng(5).standard_normal((1, 2000)) * 0.01 + 0.0005).astype(np.float32)
    wide = returns.astype(np.float64)
    assert measures.volatility(returns)[0] == pytest.approx(measures.volatility(wide)[0], rel=1e-12)
    assert measures.expected_return(returns)[0] == pytest.approx(measures.expected_return(wide)[0], rel=1e-12)
    assert measures.max_drawdown(returns)[0] == pytest.approx(measures.max_drawdown(wide)[0], rel=1e-12)


# --- concentration ------------------------------------------------------------------------------------------------


def test_effective_names_by_hand() -> None:
    exposure = np.array([[50.0, 50.0, 0.0], [75.0, 0.0, -25.0], [10.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    # Weights 3/4 and 1/4: 1 / (9/16 + 1/16).
    expected = [2.0, 1.6, 1.0, math.nan]
    assert measures.effective_names(exposure) == pytest.approx(expected, nan_ok=True)
    assert measures.effective_names(csr_array(exposure)) == pytest.approx(expected, nan_ok=True)


# --- sums of portfolios -------------------------------------------------------------------------------------------


def _aggregate(
    pnl: FloatArray, market_value: float = 1_000.0, gross: float = 800.0, covered: float = 600.0
) -> measures.Measures:
    benchmark = np.linspace(-0.01, 0.01, len(pnl))
    return measures.aggregate(pnl, market_value, gross, 700.0, 300.0, 5.0, covered, benchmark, 0.01)


def test_an_aggregate_is_measured_as_one_portfolio() -> None:
    pnl = np.random.default_rng(2).standard_normal(500) * 10.0
    row = _aggregate(pnl).rows()[0]
    assert row["var_95"] == np.quantile(-pnl, 0.95, method="inverted_cdf")
    assert row["var_95_fraction"] == row["var_95"] / 1_000.0
    assert row["volatility"] == pytest.approx(np.std(pnl / 1_000.0, ddof=1) * math.sqrt(252))
    assert row["coverage"] == 0.75
    assert row["day_pnl"] == 5.0
    assert row["effective_names"] is None


@settings(max_examples=30)
@given(pnl=arrays(np.float64, (4, 120), elements=st.floats(-1e3, 1e3)))
def test_an_aggregate_is_never_riskier_than_its_parts(pnl: FloatArray) -> None:
    whole = _aggregate(pnl.sum(axis=0)).es_975[0]
    assert whole <= sum(_aggregate(part).es_975[0] for part in pnl) + 1e-6


@pytest.mark.parametrize("market_value", [0.0, -500.0])
def test_without_positive_value_there_is_money_and_no_fraction(market_value: float) -> None:
    row = _aggregate(np.linspace(-10.0, 10.0, 100), market_value).rows()[0]
    assert row["var_95"] == pytest.approx(10.0 - 5 * 20.0 / 99)
    undefined = {name for name, value in row.items() if value is None}
    assert undefined == {
        "var_95_fraction", "var_99_fraction", "es_975_fraction", "volatility", "expected_return", "sharpe_ratio",
        "beta", "max_drawdown", "effective_names", "risk_number",
    }  # fmt: skip


def test_an_aggregate_of_no_exposure_claims_no_coverage() -> None:
    assert _aggregate(np.zeros(100), gross=0.0, covered=0.0).coverage[0] == 0.0


def test_a_row_has_the_published_names_and_plain_numbers() -> None:
    row = _aggregate(np.linspace(-10.0, 12.0, 100)).rows()[0]
    assert list(row) == [
        "market_value", "gross_exposure", "net_exposure", "cash", "var_95", "var_99", "es_975", "var_95_fraction",
        "var_99_fraction", "es_975_fraction", "volatility", "expected_return", "sharpe_ratio", "beta", "max_drawdown",
        "effective_names", "risk_number", "day_pnl", "coverage",
    ]  # fmt: skip
    assert type(row["risk_number"]) is int
    assert {type(value) for name, value in row.items() if name != "risk_number"} == {float, type(None)}
