"""Risk measures of returns and P&L: laws, and one case of each by hand."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from plimsoll.messages import RiskSnapshot
from plimsoll.risk import measures
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.measures import Choice, Holdings
from plimsoll.risk.methods import RELIVE, Method, Model, ScenarioPnl
from plimsoll.risk.tails import NO_SCENARIO, Quantile

pytestmark = pytest.mark.filterwarnings("error")

STANDARD = Choice(risk_free=0.01)


# --- returns ----------------------------------------------------------------------------------------------------------


def test_volatility_return_and_sharpe_ratio_by_hand() -> None:
    returns = np.array([[0.01, -0.01, 0.03, 0.01]])
    # Mean 0.01; deviations 0, -0.02, 0.02, 0: variance 0.0008 / 3.
    assert measures.expected_return(returns)[0] == pytest.approx(2.52)
    assert measures.volatility(returns)[0] == pytest.approx(math.sqrt(0.0008 / 3 * 252))
    assert measures.sharpe_ratio(returns, 0.0252)[0] == pytest.approx(0.0099 / math.sqrt(0.0008 / 3) * math.sqrt(252))


def test_sortino_ratio_by_hand() -> None:
    returns = np.array([[0.01, -0.01, 0.03, 0.01]])
    # Of a hurdle of 0.0001 a day only the second return falls short, by 0.0101; the mean square is over all four.
    assert measures.sortino_ratio(returns, 0.0252)[0] == pytest.approx(0.0099 / (0.0101 / 2) * math.sqrt(252))


def test_what_never_falls_short_has_no_sortino_ratio() -> None:
    assert math.isnan(measures.sortino_ratio(np.array([[0.0, 0.01, 0.02]]), 0.0)[0])
    assert math.isnan(measures.sortino_ratio(np.ones((1, 0)), 0.0)[0])


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


def test_tracking_error_by_hand() -> None:
    benchmark = np.array([0.01, -0.01, 0.02, -0.02])
    returns = np.stack([benchmark + np.array([0.01, -0.01, 0.01, -0.01]), benchmark + 0.005])
    # Whoever beats the benchmark by the same every day does not stray from it.
    expected = [math.sqrt(4 * 0.01**2 / 3 * 252), 0.0]
    assert measures.tracking_error(returns, benchmark) == pytest.approx(expected, abs=1e-12)


def test_sessions_without_a_benchmark_say_nothing_of_it() -> None:
    rng = np.random.default_rng(8)
    benchmark, returns = 0.01 * rng.standard_normal(200), 0.02 * rng.standard_normal((3, 200))
    gaps = benchmark.copy()
    gaps[[3, 77, 150]] = np.nan
    kept = np.isfinite(gaps)
    for measure in (measures.beta, measures.tracking_error):
        assert measure(returns, gaps) == pytest.approx(measure(returns[:, kept], benchmark[kept]), rel=1e-12)
        assert np.isnan(measure(returns, np.full(200, np.nan))).all()


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


@pytest.mark.filterwarnings("error")
def test_who_is_ruined_stays_so_however_much_everything_grows_afterwards() -> None:
    boom = [1e300] * 60
    returns = np.array([[-2.0, *boom], [*boom, -2.0], [-0.5, *boom], [0.0, *boom]])
    assert measures.max_drawdown(returns).tolist() == [-1.0, -1.0, -0.5, 0.0]


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
    assert measures.sortino_ratio(returns, 0.0)[0] == pytest.approx(measures.sortino_ratio(wide, 0.0)[0], rel=1e-12)


def _of_both(returns: FloatArray, benchmark: FloatArray) -> dict[str, FloatArray]:
    return {
        "volatility": measures.volatility(returns),
        "expected return": measures.expected_return(returns),
        "Sharpe": measures.sharpe_ratio(returns, 0.01),
        "Sortino": measures.sortino_ratio(returns, 0.01),
        "beta": measures.beta(returns, benchmark),
        "tracking error": measures.tracking_error(returns, benchmark),
        "drawdown": measures.max_drawdown(returns),
    }


@settings(max_examples=50)
@given(returns=arrays(np.float64, (6, 60), elements=st.floats(-0.5, 0.5)), seed=st.integers(0, 99))
def test_what_is_said_of_a_portfolio_does_not_depend_on_its_neighbours(returns: FloatArray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    benchmark, order = rng.standard_normal(60) * 0.01, rng.permutation(6)
    together, shuffled = _of_both(returns, benchmark), _of_both(returns[order], benchmark)
    for name, measured in together.items():
        assert np.array_equal(measured[order], shuffled[name], equal_nan=True), name


# --- concentration ----------------------------------------------------------------------------------------------------


def test_effective_names_by_hand() -> None:
    exposure = np.array([[50.0, 50.0, 0.0], [75.0, 0.0, -25.0], [10.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    # Weights 3/4 and 1/4: 1 / (9/16 + 1/16).
    expected = [2.0, 1.6, 1.0, math.nan]
    assert measures.effective_names(exposure) == pytest.approx(expected, nan_ok=True)
    assert measures.effective_names(csr_array(exposure)) == pytest.approx(expected, nan_ok=True)


# --- all of them, and sums of portfolios ------------------------------------------------------------------------------


def _of_two(first: float, second: float, count: int = 100) -> FloatArray:
    """(1, scenario): two values in turn."""
    return np.tile([first, second], count // 2)[None, :]


def _aggregate(
    pnl: ScenarioPnl | FloatArray,
    market_value: float = 1_000.0,
    gross: float = 800.0,
    long_run: FloatArray | None = None,
    choice: Choice = STANDARD,
) -> measures.Measures:
    """Sums that come to a value of 1,000, long 750 and short 50; a P&L given alone is that of everything."""
    if not isinstance(pnl, ScenarioPnl):
        pnl = ScenarioPnl(pnl[None, :], pnl[None, :])
    held = Holdings(*(np.array([each]) for each in (market_value, gross, 700.0, 300.0, np.nan, 5.0, 0.75)))
    benchmark = np.linspace(-0.01, 0.01, pnl.historical.shape[1])
    return measures.aggregate(held, pnl, pnl.historical if long_run is None else long_run, benchmark, choice)


def test_an_aggregate_is_measured_as_one_portfolio() -> None:
    rng = np.random.default_rng(2)
    pnl, filtered = rng.standard_normal(500) * 10.0, rng.standard_normal(500) * 20.0
    row = _aggregate(ScenarioPnl(pnl[None, :], filtered[None, :])).rows()[0]
    assert row["var_95"] == np.quantile(-filtered, 0.95, method="inverted_cdf")
    assert row["var_95_fraction"] == row["var_95"] / 1_000.0
    assert row["volatility"] == pytest.approx(np.std(pnl / 1_000.0, ddof=1) * math.sqrt(252))
    assert row["tracking_error"] == pytest.approx(
        np.std(pnl / 1_000.0 - np.linspace(-0.01, 0.01, 500), ddof=1) * math.sqrt(252)
    )
    assert row["coverage"] == 0.75
    assert row["day_pnl"] == 5.0
    assert row["effective_names"] is None


def test_long_and_short_by_hand() -> None:
    row = _aggregate(np.linspace(-10.0, 12.0, 100)).rows()[0]
    # 750 long and 50 short are 800 gross and 700 net.
    assert (row["gross_exposure"], row["net_exposure"]) == (800.0, 700.0)
    assert (row["long_exposure"], row["short_exposure"]) == (750.0, -50.0)


def _swing_that_loses(percent: float, count: int) -> float:
    """How much 1,000 must go up and down by in turn, for six months to lose that at 95 %, without any mean."""
    return 1_000.0 * percent / 100.0 / (1.6449 * math.sqrt(126)) / math.sqrt(count / (count - 1))


def test_both_risk_numbers_by_hand() -> None:
    calm, stormy = _swing_that_loses(5.5, 400), _swing_that_loses(15.0, 100)
    pnl = ScenarioPnl(_of_two(1.0, -1.0), _of_two(stormy, -stormy))
    row = _aggregate(pnl, long_run=_of_two(calm, -calm, 400)).rows()[0]
    # The anchors of 15 % and 5.5 %: the window as it was has no part in either.
    assert row["risk_number"] == 70
    assert row["risk_number_structural"] == 35


def test_the_long_runs_mean_gives_back_of_both_risk_numbers() -> None:
    calm, stormy = _swing_that_loses(5.5 + 6.3, 400), _swing_that_loses(15.0 + 6.3, 100)
    # 0.5 a day on 1,000 is 6.3 % in 126 sessions; the filtered scenarios' own mean of 3 is no part of it.
    pnl = ScenarioPnl(_of_two(1.0, -1.0), _of_two(stormy, -stormy) + 3.0)
    row = _aggregate(pnl, long_run=_of_two(calm, -calm, 400) + 0.5).rows()[0]
    assert (row["risk_number"], row["risk_number_structural"]) == (70, 35)


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
        "sortino_ratio", "beta", "tracking_error", "max_drawdown", "effective_names", "risk_number",
        "risk_number_structural",
    }  # fmt: skip


def test_a_row_has_the_published_names_and_plain_numbers() -> None:
    row = _aggregate(np.linspace(-10.0, 12.0, 100)).rows()[0]
    assert list(row) == [
        "market_value", "gross_exposure", "net_exposure", "long_exposure", "short_exposure", "cash", "var_95",
        "var_99", "es_975", "var_95_fraction", "var_99_fraction", "es_975_fraction", "volatility", "expected_return",
        "sharpe_ratio", "sortino_ratio", "beta", "tracking_error", "max_drawdown", "effective_names", "risk_number",
        "risk_number_structural", "day_pnl", "coverage",
    ]  # fmt: skip
    numbers = ("risk_number", "risk_number_structural")
    assert {type(row[name]) for name in numbers} == {int}
    assert {type(value) for name, value in row.items() if name not in numbers} == {float, type(None)}


def test_every_measure_of_a_row_is_one_of_a_snapshot() -> None:
    row = _aggregate(np.linspace(-10.0, 12.0, 100)).rows()[0]
    assert set(row) <= set(RiskSnapshot.__struct_fields__)


@pytest.mark.parametrize("method", Method)
def test_what_could_be_lost_follows_the_method_and_what_has_been_does_not(method: Method) -> None:
    rng = np.random.default_rng(6)
    pnl = ScenarioPnl(rng.standard_normal((1, 200)), 2.0 * rng.standard_normal((1, 200)))
    model = Model(draws=200)
    ours, default = (_aggregate(pnl, choice=Choice(each, model)) for each in (method, Method.FILTERED_HISTORICAL))
    follows = {"var_95", "var_99", "es_975", "var_95_fraction", "var_99_fraction", "es_975_fraction"}
    for field in dataclasses.fields(ours):
        if field.name not in follows | {"var_95_scenario"}:
            one, other = getattr(ours, field.name), getattr(default, field.name)
            assert np.array_equal(one, other, equal_nan=True), field.name
    if method in RELIVE:
        relived = pnl.filtered if method is Method.FILTERED_HISTORICAL else pnl.historical
        assert relived[0, ours.var_95_scenario[0]] == -ours.var_95[0]
    else:
        assert ours.var_95_scenario[0] == NO_SCENARIO
    assert (ours.var_95[0] == default.var_95[0]) == (method is Method.FILTERED_HISTORICAL)


def test_an_interpolated_value_at_risk_has_no_date() -> None:
    choice = Choice(model=Model(quantile=Quantile.LINEAR))
    assert _aggregate(np.linspace(-10.0, 12.0, 99), choice=choice).var_95_scenario[0] == NO_SCENARIO
