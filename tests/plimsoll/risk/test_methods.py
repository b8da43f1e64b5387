"""Seven ways to value at risk: each by hand, and the laws that hold for all of them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq

from plimsoll.risk import tails
from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.methods import (
    RELIVE,
    Method,
    Model,
    ScenarioPnl,
    cornish_fisher_domain,
    decay_weights,
    moments,
    sample,
    tail_risk,
)
from plimsoll.risk.tails import Quantile, TailRisk

pytestmark = pytest.mark.filterwarnings("error")

Z_95, Z_99 = 1.6448536269514722, 2.3263478740408408
SHORTFALL_975 = 2.3378027922014
"""Of the normal law, in standard deviations: Basel's comparison."""

QUICK = Model(draws=400)
EVERY = st.sampled_from(Method)
COHERENT = st.sampled_from([method for method in Method if method is not Method.CORNISH_FISHER])
PROBABILITIES = (0.05, 0.01, 0.025, 0.2)
SEEDS = st.integers(0, 9_999)


def _matrices(portfolios: int, least: int = 1) -> st.SearchStrategy[FloatArray]:
    scenarios = st.integers(least, 200)
    return scenarios.flatmap(lambda count: arrays(np.float64, (portfolios, count), elements=st.floats(-1e6, 1e6)))


def _both(pnl: FloatArray) -> ScenarioPnl:
    """Filtered P&L that is not the historical one, and just as additive."""
    return ScenarioPnl(pnl, pnl * np.linspace(0.5, 1.5, pnl.shape[1]))


def _drawn(seed: int, portfolios: int = 3, scenarios: int = 120) -> FloatArray:
    """P&L with some skewness and heavy tails."""
    rng = np.random.default_rng(seed)
    return np.asarray(100.0 * (rng.standard_t(6.0, (portfolios, scenarios)) + 0.2 * rng.standard_exponential()))


def _one(method: Method, historical: Any, probability: float, model: Model = QUICK) -> tuple[float, float]:
    """Value at risk and expected shortfall of one portfolio, whose filtered P&L is twice the historical one."""
    pnl = np.atleast_2d(np.asarray(historical, np.float64))
    measured = tail_risk(method, ScenarioPnl(pnl, 2.0 * pnl), [probability], model)[0]
    return float(measured.value_at_risk[0]), float(measured.expected_shortfall[0])


# --- each by hand -----------------------------------------------------------------------------------------------------

FIVE = [3.0, -10.0, 1.0, -6.0, -2.0]


def test_historical_by_hand() -> None:
    # The worst 30 % of five scenarios: all of the -10, half of the -6.
    assert _one(Method.HISTORICAL, FIVE, 0.3) == pytest.approx((6.0, (10 + 6 / 2) / 1.5))


def test_filtered_historical_by_hand() -> None:
    assert _one(Method.FILTERED_HISTORICAL, FIVE, 0.3) == pytest.approx((12.0, (20 + 12 / 2) / 1.5))


def test_age_weighted_by_hand() -> None:
    # Halving with each session of age, oldest first: 1/15, 2/15, 4/15, 8/15.
    at_risk = _one(Method.AGE_WEIGHTED, [-8.0, -4.0, -2.0, 1.0], 0.1, Model(age_decay=0.5))
    assert at_risk == pytest.approx((4.0, (8 / 15 + 4 * (0.1 - 1 / 15)) / 0.1))


def test_ewma_normal_by_hand() -> None:
    # Weights 1/3 and 2/3: 16/3 + 8/3 is a variance of 8, about a mean of zero.
    deviation, model = math.sqrt(8.0), Model(decay=0.5)
    assert _one(Method.EWMA_NORMAL, [4.0, -2.0], 0.05, model)[0] == pytest.approx(Z_95 * deviation)
    assert _one(Method.EWMA_NORMAL, [4.0, -2.0], 0.01, model)[0] == pytest.approx(Z_99 * deviation)
    assert _one(Method.EWMA_NORMAL, [4.0, -2.0], 0.025, model)[1] == pytest.approx(SHORTFALL_975 * deviation)


def test_normal_by_hand() -> None:
    # Mean 1; deviations 0, -2, 2, 0: a variance of 8/3.
    deviation = math.sqrt(8.0 / 3.0)
    assert _one(Method.NORMAL, [1.0, -1.0, 3.0, 1.0], 0.01)[0] == pytest.approx(Z_99 * deviation - 1.0)
    assert _one(Method.NORMAL, [1.0, -1.0, 3.0, 1.0], 0.025)[1] == pytest.approx(SHORTFALL_975 * deviation - 1.0)


def test_cornish_fisher_by_hand() -> None:
    pnl = [-4.0, -1.0, -1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 3.0]
    # Mean 0, squares 32.
    skewness, kurtosis = stats.skew(pnl, bias=False), stats.kurtosis(pnl, bias=False)
    deviation = math.sqrt(32 / 14)
    z = -Z_95
    bent = (
        z
        + (z**2 - 1) * skewness / 6
        + (z**3 - 3 * z) * kurtosis / 24
        - (2 * z**3 - 5 * z) * skewness**2 / 36
    )  # fmt: skip
    assert _one(Method.CORNISH_FISHER, pnl, 0.05)[0] == pytest.approx(-deviation * bent)
    # Skewed to the left and heavy in the tails: the loss is larger than the normal law's.
    assert skewness < -0.5 < 0.5 < kurtosis
    assert bent < z


def test_monte_carlo_by_hand() -> None:
    """Four draws of two sessions, from two of numpy's and their mirror images."""
    mix = np.random.default_rng(3).standard_normal((2, 2))
    drawn = mix @ np.array([4.0 * math.sqrt(1 / 3), -2.0 * math.sqrt(2 / 3)])
    worst = np.sort(np.abs(drawn))[::-1]
    model = Model(decay=0.5, draws=4, seed=3, degrees_of_freedom=math.inf)
    # Half of four are two: the quantile is the third, and the mean of the worst two is in the shortfall.
    assert _one(Method.MONTE_CARLO, [4.0, -2.0], 0.5, model) == pytest.approx((-worst[1], worst.mean()))
    assert _one(Method.MONTE_CARLO, [4.0, -2.0], 0.3, model)[0] == pytest.approx(worst[1])


# --- what holds for all -----------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(method=EVERY, pnl=_matrices(2), quantile=st.sampled_from(Quantile))
def test_expected_shortfall_is_never_less_than_value_at_risk(
    method: Method, pnl: FloatArray, quantile: Quantile
) -> None:
    for at_risk, shortfall in tail_risk(method, _both(pnl), PROBABILITIES, Model(draws=400, quantile=quantile)):
        defined = np.isfinite(at_risk)
        assert np.array_equal(defined, np.isfinite(shortfall))
        assert (shortfall[defined] >= at_risk[defined] - 1e-6).all()
        assert defined.all() or method is Method.CORNISH_FISHER


@settings(max_examples=150, deadline=None)
@given(method=COHERENT, pnl=_matrices(2))
def test_holding_two_portfolios_together_is_never_riskier_than_apart(method: Method, pnl: FloatArray) -> None:
    apart = tail_risk(method, _both(pnl), PROBABILITIES, QUICK)
    together = tail_risk(method, _both(pnl.sum(axis=0, keepdims=True)), PROBABILITIES, QUICK)
    for alone, summed in zip(apart, together, strict=True):
        assert summed.expected_shortfall[0] <= alone.expected_shortfall.sum() + 1e-5


@settings(max_examples=60, deadline=None)
@given(method=EVERY, seed=SEEDS, factor=st.floats(1e-3, 1e3))
def test_twice_the_portfolio_is_twice_the_risk(method: Method, seed: int, factor: float) -> None:
    pnl = _drawn(seed)
    before = tail_risk(method, _both(pnl), PROBABILITIES, QUICK)
    after = tail_risk(method, _both(factor * pnl), PROBABILITIES, QUICK)
    for one, other in zip(before, after, strict=True):
        for measure, scaled in zip(one, other, strict=True):
            assert scaled == pytest.approx(factor * measure, rel=1e-9, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(method=EVERY, seed=SEEDS)
def test_the_order_of_portfolios_does_not_matter(method: Method, seed: int) -> None:
    """To the last bit, and alone as in company: a report of one says what a report of all does."""
    pnl = _both(_drawn(seed, portfolios=7))
    order = np.random.default_rng(seed).permutation(7)
    together = tail_risk(method, pnl, PROBABILITIES, QUICK)
    shuffled = tail_risk(method, ScenarioPnl(pnl.historical[order], pnl.filtered[order]), PROBABILITIES, QUICK)
    alone = tail_risk(method, ScenarioPnl(pnl.historical[2:3], pnl.filtered[2:3]), PROBABILITIES, QUICK)
    for level, other, only in zip(together, shuffled, alone, strict=True):
        for measure, in_another_order, by_itself in zip(level, other, only, strict=True):
            assert np.array_equal(measure[order], in_another_order, equal_nan=True)
            assert np.array_equal(measure[2:3], by_itself, equal_nan=True)


@pytest.mark.parametrize("method", Method)
def test_a_portfolio_that_never_moves_is_at_no_risk(method: Method) -> None:
    for measure in tail_risk(method, _both(np.zeros((2, 100))), [0.01], QUICK)[0]:
        assert measure.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("method", Method)
def test_no_portfolios_have_no_tails(method: Method) -> None:
    measured = tail_risk(method, _both(np.zeros((0, 100))), PROBABILITIES, QUICK)
    assert [measure.shape for level in measured for measure in level] == [(0,)] * 8


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("probability", [0.0, 1.0, math.nan, 95.0])
def test_a_tail_that_is_no_probability_is_refused_by_every_method(method: Method, probability: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        tail_risk(method, _both(np.ones((1, 100))), [probability], QUICK)


@pytest.mark.parametrize("method", Method)
def test_no_scenarios_are_refused_by_every_method(method: Method) -> None:
    with pytest.raises(ValueError, match="no scenarios"):
        tail_risk(method, _both(np.ones((1, 0))), [0.05], QUICK)


@pytest.mark.parametrize("method", Method)
def test_float32_agrees_with_float64(method: Method) -> None:
    pnl = _both(_drawn(5))
    narrow = tail_risk(method, ScenarioPnl(*(each.astype(np.float32) for each in pnl)), PROBABILITIES, QUICK)
    for one, other in zip(narrow, tail_risk(method, pnl, PROBABILITIES, QUICK), strict=True):
        for measure, exact in zip(one, other, strict=True):
            assert measure.dtype == np.float64
            assert measure == pytest.approx(exact, rel=1e-5, nan_ok=True)


# --- those that live through past sessions again ----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(method=st.sampled_from(RELIVE), seed=SEEDS, quantile=st.sampled_from(Quantile))
def test_the_tail_of_a_method_is_the_tail_of_its_sample(method: Method, seed: int, quantile: Quantile) -> None:
    pnl, model = _both(_drawn(seed)), Model(quantile=quantile)
    relived = sample(method, pnl, model)
    assert relived is not None
    ours, direct = (
        tail_risk(method, pnl, PROBABILITIES, model),
        tails.tail_risk(relived.pnl, PROBABILITIES, relived.weight, quantile),
    )
    for one, other in zip(ours, direct, strict=True):
        assert np.array_equal(one.value_at_risk, other.value_at_risk)
        assert np.array_equal(one.expected_shortfall, other.expected_shortfall)


@pytest.mark.parametrize("method", [method for method in Method if method not in RELIVE])
def test_a_law_has_no_scenarios_to_date(method: Method) -> None:
    assert sample(method, _both(np.ones((1, 100))), QUICK) is None


def test_age_weights_by_hand() -> None:
    # Half a session before: 1/7, 2/7, 4/7.
    assert decay_weights(3, 0.5) == pytest.approx([1 / 7, 2 / 7, 4 / 7])


@given(count=st.integers(1, 2_000), decay=st.floats(0.5, 0.9999))
def test_weights_fall_by_the_decay_and_sum_to_one(count: int, decay: float) -> None:
    weight = decay_weights(count, decay)
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert weight[:-1] == pytest.approx(decay * weight[1:], rel=1e-9, abs=1e-300)


def test_a_loss_weighs_less_the_older_it_is() -> None:
    losses = np.full((100, 100), 1.0)
    np.fill_diagonal(losses, -100.0)
    # One great loss, a hundred times, a session younger each time.
    shortfall = tail_risk(Method.AGE_WEIGHTED, _both(losses), [0.05], QUICK)[0].expected_shortfall
    assert (np.diff(shortfall) > 0.0).all()


# --- the normal laws --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Method.EWMA_NORMAL, Method.NORMAL])
def test_published_figures_of_the_normal_law(method: Method) -> None:
    """ES 97.5 % is 2.3378 standard deviations, VaR 99 % is 2.3263."""
    pnl = np.tile([1.0, -1.0], 500)[None, :]
    deviation = 1.0 if method is Method.EWMA_NORMAL else math.sqrt(1000 / 999)
    level_99, level_975 = tail_risk(method, _both(pnl), [0.01, 0.025], QUICK)
    assert level_99.value_at_risk[0] / deviation == pytest.approx(2.3263, abs=5e-5)
    assert level_975.expected_shortfall[0] / deviation == pytest.approx(2.3378, abs=5e-5)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_variance_of_a_portfolio_is_that_of_its_weights_in_the_covariance(seed: int) -> None:
    """w' S w with the covariance of the names: the two roads to the EWMA variance of a portfolio meet."""
    rng = np.random.default_rng(seed)
    returns, exposure = rng.standard_normal((4, 150)), rng.normal(0.0, 100.0, 4)
    weight = decay_weights(150, 0.94)
    covariance = (returns * weight) @ returns.T
    at_risk, _ = _one(Method.EWMA_NORMAL, exposure @ returns, 0.05)
    assert at_risk == pytest.approx(Z_95 * math.sqrt(exposure @ covariance @ exposure), rel=1e-9)


# --- moments and Cornish-Fisher ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, scenarios=st.integers(4, 300))
def test_moments_are_those_of_scipy_without_bias(seed: int, scenarios: int) -> None:
    pnl = _drawn(seed, scenarios=scenarios) ** 3
    ours = moments(pnl)
    assert ours.mean == pytest.approx(pnl.mean(axis=1), rel=1e-9)
    assert ours.deviation == pytest.approx(pnl.std(axis=1, ddof=1), rel=1e-9)
    assert ours.skewness == pytest.approx(stats.skew(pnl, axis=1, bias=False), rel=1e-9, abs=1e-12)
    assert ours.kurtosis == pytest.approx(stats.kurtosis(pnl, axis=1, bias=False), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("pnl", [np.full((1, 100), 0.1), np.zeros((1, 100)), np.array([[1.0, -2.0, 3.0]])])
def test_what_never_swings_or_hardly_exists_has_no_shape(pnl: FloatArray) -> None:
    assert math.isnan(moments(pnl).skewness[0])
    assert math.isnan(moments(pnl).kurtosis[0])


def test_a_sure_gain_is_one_in_the_normal_law_and_in_its_bent_one() -> None:
    for method in (Method.NORMAL, Method.CORNISH_FISHER):
        assert _one(method, np.full(100, 3.0), 0.01) == pytest.approx((-3.0, -3.0))


def test_without_skewness_and_kurtosis_nothing_is_bent() -> None:
    def shaped(far: float) -> FloatArray:
        return np.array([[-far, -far, -1.0, -1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, far, far]])

    # Symmetric, so without skewness; this far out, without more kurtosis than keeps it on our side of the edge.
    pnl = shaped(float(brentq(lambda far: moments(shaped(far)).kurtosis[0] - 1e-12, 1.0, 4.0, xtol=1e-15)))
    bent, plain = (tail_risk(method, _both(pnl), PROBABILITIES, QUICK) for method in ("cornish_fisher", "normal"))
    for one, other in zip(bent, plain, strict=True):
        assert one.value_at_risk == pytest.approx(other.value_at_risk, rel=1e-9)
        assert one.expected_shortfall == pytest.approx(other.expected_shortfall, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, probability=st.sampled_from([0.05, 0.025, 0.01, 0.3]))
def test_the_bent_expected_shortfall_is_the_integral_of_the_bent_quantile(seed: int, probability: float) -> None:
    pnl = _drawn(seed, portfolios=1, scenarios=500)
    assume(cornish_fisher_domain(*moments(pnl)[2:]).all())
    integral, _ = quad(lambda p: _one(Method.CORNISH_FISHER, pnl, p)[0], 0.0, probability, epsabs=1e-9, limit=200)
    assert _one(Method.CORNISH_FISHER, pnl, probability)[1] == pytest.approx(integral / probability, rel=1e-6)


@given(skewness=st.floats(-4.0, 4.0), kurtosis=st.floats(-3.0, 12.0))
def test_the_domain_is_where_the_bent_quantile_never_turns_back(skewness: float, kurtosis: float) -> None:
    z = np.linspace(-100.0, 100.0, 20_001)
    slope = 1 + z * skewness / 3 + (z**2 - 1) * kurtosis / 8 - (6 * z**2 - 5) * skewness**2 / 36
    # On the edge itself rounding decides, and a slope that hardly bends turns beyond what we look at.
    assume(abs(slope.min()) > 1e-3 and abs(kurtosis / 8 - skewness**2 / 6) > 1e-2)
    inside = bool(cornish_fisher_domain(np.array([skewness]), np.array([kurtosis]))[0])
    assert inside == (slope.min() > 0.0)


def test_outside_its_domain_the_bent_law_says_nothing() -> None:
    crash = np.zeros((2, 100))
    crash[0] = np.linspace(-1.0, 1.0, 100)
    crash[0, 0] = -50.0
    crash[1] = _drawn(1)[0, :100]
    for level in tail_risk(Method.CORNISH_FISHER, _both(crash), PROBABILITIES, QUICK):
        assert np.isnan(level.value_at_risk).tolist() == np.isnan(level.expected_shortfall).tolist() == [True, False]
    assert not cornish_fisher_domain(np.array([np.nan]), np.array([0.0]))[0]


# --- Monte Carlo ------------------------------------------------------------------------------------------------------


def _drawn_tails(probability: float, pnl: FloatArray, **model: Any) -> TailRisk:
    return tail_risk(Method.MONTE_CARLO, _both(pnl), [probability], Model(**model))[0]


def test_the_same_seed_draws_the_same_and_another_another() -> None:
    pnl = _drawn(2)
    one, again, other = (_drawn_tails(0.05, pnl, draws=400, seed=seed).value_at_risk for seed in (7, 7, 8))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("probability", [0.05, 0.01])
def test_normal_draws_come_within_their_standard_error_of_the_normal_law(seed: int, probability: float) -> None:
    pnl, draws = _drawn(4), 20_000
    drawn = _drawn_tails(probability, pnl, draws=draws, seed=seed, degrees_of_freedom=math.inf)
    law = tail_risk(Method.EWMA_NORMAL, _both(pnl), [probability], QUICK)[0]
    z = stats.norm.ppf(probability)
    error = math.sqrt(probability * (1 - probability) / draws) / stats.norm.pdf(z) / abs(z)
    assert drawn.value_at_risk == pytest.approx(law.value_at_risk, rel=4 * error)
    assert drawn.expected_shortfall == pytest.approx(law.expected_shortfall, rel=4 * error)


@pytest.mark.parametrize("degrees_of_freedom", [3.0, 5.0])
def test_students_draws_are_those_of_his_law_with_the_same_variance(degrees_of_freedom: float) -> None:
    pnl = _drawn(4)
    drawn = _drawn_tails(0.01, pnl, draws=40_000, degrees_of_freedom=degrees_of_freedom).value_at_risk
    normal = tail_risk(Method.EWMA_NORMAL, _both(pnl), [0.01], QUICK)[0].value_at_risk
    unit = math.sqrt((degrees_of_freedom - 2) / degrees_of_freedom)
    wanted = -stats.t.ppf(0.01, degrees_of_freedom) * unit / Z_99
    # Its 99 % tail is the fatter: 3.365 x 0.775 against 2.326 for five degrees.
    assert wanted > 1.1
    assert drawn / normal == pytest.approx(wanted, rel=0.06)


def test_portfolios_of_one_draw_move_together_as_the_covariance_says() -> None:
    """From tails alone: var(x + y) - var(x - y) is four covariances, and sums are drawn with their parts."""
    x, y = _drawn(9, portfolios=2)
    weight = decay_weights(120, 0.94)
    together = np.stack([x, y, x + y, x - y])
    drawn = _drawn_tails(0.05, together, draws=40_000, degrees_of_freedom=math.inf)
    variance = (drawn.expected_shortfall / (stats.norm.pdf(Z_95) / 0.05)) ** 2
    exact = together**2 @ weight
    assert variance == pytest.approx(exact, rel=0.04)
    assert (variance[2] - variance[3]) / 4 == pytest.approx((x * y) @ weight, abs=0.03 * math.sqrt(exact[0] * exact[1]))


# --- what there is to choose ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"decay": 1.0}, "decay 1.0 is not between 0 and 1"),
        ({"decay": math.nan}, "decay nan"),
        ({"age_decay": 0.0}, "age_decay 0.0 is not between 0 and 1"),
        ({"draws": 0}, "0 draws"),
        ({"draws": 401}, "an even number"),
        ({"degrees_of_freedom": 2.0}, "have no variance"),
        ({"degrees_of_freedom": math.nan}, "take more than 2"),
    ],
)
def test_a_model_that_cannot_be_is_refused(choice: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Model(**choice)


def test_the_names_of_the_methods_are_a_contract() -> None:
    assert {method.value for method in Method} == {
        "historical", "filtered_historical", "age_weighted", "ewma_normal", "normal", "cornish_fisher", "monte_carlo",
    }  # fmt: skip
