"""What independent libraries say of the same portfolios: real prices, four kinds of book, three endings.

empyrical (volatility, Sharpe, Sortino, drawdown, beta), arch (the EWMA recursion and where it starts), numpy and scipy
(quantiles, moments), and for expected shortfall, which no library has exactly, rational arithmetic.
"""

from fractions import Fraction
from functools import cache

import empyrical
import numpy as np
import pytest
from arch.univariate import EWMAVariance
from scipy import stats
from scipy.sparse import csr_array

from plimsoll.risk.arrays import FloatArray, Sparse
from plimsoll.risk.measures import SESSIONS_IN_YEAR, Choice, Measures
from plimsoll.risk.methods import Method, Model, ScenarioPnl, decay_weights, moments
from plimsoll.risk.methods import tail_risk as tails_of
from plimsoll.risk.scenarios import Closes, ScenarioSet, build
from plimsoll.risk.tails import Quantile
from plimsoll.risk.valuation import Market, exposures, market_of, revalue, scenario_pnl
from producer import closes as bundled

pytestmark = pytest.mark.filterwarnings("error")

WINDOW = 500
RISK_FREE = 0.02
ENDINGS = ("1999-12-31", "2008-12-31", "2020-02-19", "2022-12-28")
BOOKS: dict[str, tuple[dict[str, float], float]] = {
    "long": (dict.fromkeys(bundled.SECTORS, 10.0), 0.0),
    "long and short": ({"AAPL": 300.0, "JPM": 80.0, "KO": -150.0, "XOM": -60.0, "GE": 40.0}, 50_000.0),
    "a single name": ({"MSFT": 100.0}, 0.0),
    "mostly cash": ({"WMT": 20.0, "PG": 15.0}, 100_000.0),
}
CASES = [pytest.param(ending, book, id=f"{book}, {ending}") for ending in ENDINGS for book in BOOKS]
EXACTLY = {"rel": 1e-9, "abs": 1e-12}


@cache
def _known() -> bundled.Closes:
    return bundled.load()


@cache
def _set(ending: str) -> ScenarioSet:
    known = _known()
    count = known.sessions.index(ending) + 1
    order = np.argsort(known.symbols)
    closes = Closes(known.sessions[:count], tuple(np.array(known.symbols)[order]), known.matrix[:count, order])
    return build(closes, bundled.BENCHMARK, WINDOW)


@cache
def _market(ending: str) -> Market:
    scenarios = _set(ending)
    before, last = scenarios.closes.price[-2:]
    return market_of(scenarios, scenarios.symbols, {}, last, before, np.float64)


def _positions(book: str, symbols: tuple[str, ...]) -> tuple[Sparse, FloatArray]:
    held, cash = BOOKS[book]
    return csr_array([[held.get(symbol, 0.0) for symbol in symbols]]), np.array([cash])


def _measured(ending: str, book: str, choice: Choice) -> Measures:
    quantity, cash = _positions(book, _set(ending).symbols)
    return revalue(quantity, cash, _market(ending), choice)


@cache
def _by_hand(ending: str, book: str) -> tuple[FloatArray, FloatArray, float]:
    """(scenario,) P&L, (scenario,) returns of the index, market value: from the files' prices and plain arithmetic."""
    known = _known()
    last = known.sessions.index(ending)
    held, cash = BOOKS[book]
    price = {symbol: known.matrix[last - WINDOW : last + 1, known.symbols.index(symbol)] for symbol in known.symbols}
    value = {symbol: quantity * price[symbol][-1] for symbol, quantity in held.items()}
    pnl = sum((value[symbol] * (price[symbol][1:] / price[symbol][:-1] - 1.0) for symbol in held), np.zeros(WINDOW))
    index = price[bundled.BENCHMARK]
    return pnl, index[1:] / index[:-1] - 1.0, sum(value.values()) + cash


# --- empyrical --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "book"), CASES)
def test_returns_are_measured_as_empyrical_does(ending: str, book: str) -> None:
    ours = _measured(ending, book, Choice(risk_free=RISK_FREE))
    pnl, index, value = _by_hand(ending, book)
    returns, daily = pnl / value, RISK_FREE / SESSIONS_IN_YEAR
    assert ours.market_value[0] == pytest.approx(value, rel=1e-12)
    assert ours.volatility[0] == pytest.approx(empyrical.annual_volatility(returns), **EXACTLY)
    assert ours.expected_return[0] == pytest.approx(returns.mean() * SESSIONS_IN_YEAR, **EXACTLY)
    assert ours.sharpe_ratio[0] == pytest.approx(empyrical.sharpe_ratio(returns, risk_free=daily), **EXACTLY)
    assert ours.sortino_ratio[0] == pytest.approx(empyrical.sortino_ratio(returns, required_return=daily), **EXACTLY)
    assert ours.max_drawdown[0] == pytest.approx(empyrical.max_drawdown(returns), **EXACTLY)
    assert ours.beta[0] == pytest.approx(empyrical.beta(returns, index), **EXACTLY)
    assert ours.tracking_error[0] == pytest.approx(empyrical.annual_volatility(returns - index), **EXACTLY)


@pytest.mark.parametrize(("ending", "book"), CASES)
def test_beta_is_the_slope_of_scipys_regression(ending: str, book: str) -> None:
    pnl, index, value = _by_hand(ending, book)
    ours = _measured(ending, book, Choice())
    assert ours.beta[0] == pytest.approx(stats.linregress(index, pnl / value).slope, **EXACTLY)


def test_cash_alone_is_what_libraries_say_of_a_row_of_zeros() -> None:
    scenarios = _set("2022-12-28")
    row = revalue(csr_array((1, len(scenarios.symbols))), np.array([1e5]), _market("2022-12-28")).rows()[0]
    nothing = np.zeros(WINDOW)
    assert row["volatility"] == empyrical.annual_volatility(nothing) == 0.0
    assert row["max_drawdown"] == empyrical.max_drawdown(nothing) == 0.0
    assert row["beta"] == empyrical.beta(nothing, scenarios.benchmark_returns) == 0.0
    assert row["var_99"] == row["es_975"] == np.quantile(nothing, 0.99, method="inverted_cdf") == 0.0


# --- quantiles and shortfalls -----------------------------------------------------------------------------------------


def _shortfall(pnl: FloatArray, tail: Fraction) -> float:
    """The exact mean of the worst share of equally likely scenarios, in rational numbers."""
    left, lost = tail, Fraction(0)
    for each in sorted(pnl):
        inside = min(left, Fraction(1, len(pnl)))
        lost -= inside * Fraction(float(each))
        left -= inside
    return float(lost / tail)


@pytest.mark.parametrize(("ending", "book"), CASES)
def test_historical_tails_are_numpys_quantiles_and_exact_shortfalls(ending: str, book: str) -> None:
    pnl, _, _ = _by_hand(ending, book)
    ours = _measured(ending, book, Choice(Method.HISTORICAL))
    assert ours.var_95[0] == pytest.approx(np.quantile(-pnl, 0.95, method="inverted_cdf"), **EXACTLY)
    assert ours.var_99[0] == pytest.approx(np.quantile(-pnl, 0.99, method="inverted_cdf"), **EXACTLY)
    assert ours.es_975[0] == pytest.approx(_shortfall(pnl, Fraction(1, 40)), **EXACTLY)
    # The scenario it is dated by lost just that.
    assert -pnl[ours.var_95_scenario[0]] == pytest.approx(ours.var_95[0], **EXACTLY)


@pytest.mark.parametrize(("ending", "book"), CASES)
def test_the_linear_quantile_is_empyricals_value_at_risk(ending: str, book: str) -> None:
    pnl, _, value = _by_hand(ending, book)
    ours = _measured(ending, book, Choice(Method.HISTORICAL, Model(quantile=Quantile.LINEAR)))
    assert ours.var_95_fraction[0] == pytest.approx(-empyrical.value_at_risk(pnl / value, cutoff=0.05), **EXACTLY)
    assert ours.var_99_fraction[0] == pytest.approx(-empyrical.value_at_risk(pnl / value, cutoff=0.01), **EXACTLY)


@pytest.mark.parametrize(("ending", "book"), CASES)
def test_age_weighted_tails_are_numpys_weighted_quantiles(ending: str, book: str) -> None:
    pnl, _, _ = _by_hand(ending, book)
    ours = _measured(ending, book, Choice(Method.AGE_WEIGHTED))
    weight = decay_weights(WINDOW, 0.99)
    assert ours.var_95[0] == pytest.approx(
        np.quantile(-pnl, 0.95, weights=weight, method="inverted_cdf"), **EXACTLY
    )  # fmt: skip
    # The mean of the worst, each for the part of it within the tail.
    order = np.argsort(pnl)
    inside = np.diff(np.minimum(np.concatenate([[0.0], np.cumsum(weight[order])]), 0.025))
    assert ours.es_975[0] == pytest.approx(-(inside @ pnl[order]) / 0.025, **EXACTLY)


# --- the volatility of each name --------------------------------------------------------------------------------------


def _by_arch(returns: FloatArray) -> FloatArray:
    """(session + 1,) arch's forecast of volatility for each session, and for the one to come."""
    process, padded = EWMAVariance(0.94), np.append(returns, 0.0)
    variance = np.empty_like(padded)
    process.compute_variance(
        np.empty(0), padded, variance, process.backcast(padded), process.variance_bounds(padded)
    )  # fmt: skip
    return np.asarray(np.sqrt(variance))


@pytest.mark.parametrize("ending", ENDINGS)
def test_volatilities_are_those_of_arch(ending: str) -> None:
    scenarios = _set(ending)
    for column in range(len(scenarios.symbols)):
        theirs = _by_arch(scenarios.returns[:, column])
        assert scenarios.volatility[:, column] == pytest.approx(theirs[:-1], rel=1e-9)
        assert scenarios.volatility_now[column] == pytest.approx(theirs[-1], rel=1e-9)


@pytest.mark.parametrize(("ending", "book"), CASES)
def test_filtered_tails_follow_from_archs_volatilities(ending: str, book: str) -> None:
    scenarios, market = _set(ending), _market(ending)
    quantity, _ = _positions(book, scenarios.symbols)
    theirs = np.stack([_by_arch(column) for column in scenarios.returns.T], axis=1)
    rescaled = scenarios.returns * theirs[-1] / theirs[:-1]
    pnl = rescaled[-WINDOW:] @ exposures(quantity, market.mark).toarray()[0]
    ours = _measured(ending, book, Choice())
    assert ours.var_95[0] == pytest.approx(np.quantile(-pnl, 0.95, method="inverted_cdf"), **EXACTLY)
    assert ours.var_99[0] == pytest.approx(np.quantile(-pnl, 0.99, method="inverted_cdf"), **EXACTLY)
    assert ours.es_975[0] == pytest.approx(_shortfall(pnl, Fraction(1, 40)), **EXACTLY)


# --- the laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "book"), CASES)
def test_the_normal_laws_are_scipys(ending: str, book: str) -> None:
    pnl, _, _ = _by_hand(ending, book)
    lived = ScenarioPnl(pnl[None, :], pnl[None, :])
    weighted = float(np.sqrt(decay_weights(WINDOW, 0.94) @ pnl**2))
    cases = {
        Method.NORMAL: stats.norm(pnl.mean(), pnl.std(ddof=1)),
        Method.EWMA_NORMAL: stats.norm(0.0, weighted),
    }
    for method, law in cases.items():
        level_99, level_975 = tails_of(method, lived, [0.01, 0.025], Model())
        assert level_99.value_at_risk[0] == pytest.approx(-law.ppf(0.01), **EXACTLY)
        edge = law.ppf(0.025)
        # The mean below a quantile of a normal law: mu - variance times density over probability.
        beyond = law.mean() - law.var() * law.pdf(edge) / 0.025
        assert level_975.expected_shortfall[0] == pytest.approx(-beyond, **EXACTLY)


@pytest.mark.parametrize(("ending", "book"), CASES)
def test_moments_are_scipys_without_bias(ending: str, book: str) -> None:
    quantity, _ = _positions(book, _set(ending).symbols)
    market = _market(ending)
    ours = moments(scenario_pnl(exposures(quantity, market.mark), market.historical))
    pnl, _, _ = _by_hand(ending, book)
    assert ours.skewness[0] == pytest.approx(stats.skew(pnl, bias=False), **EXACTLY)
    assert ours.kurtosis[0] == pytest.approx(stats.kurtosis(pnl, bias=False), **EXACTLY)
