"""The tail of a sample: laws, one case of each measure by hand, published figures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import norm

from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.tails import (
    NO_SCENARIO,
    Quantile,
    expected_shortfall,
    expected_shortfall_weight,
    scenario_of,
    tail_risk,
    value_at_risk,
    value_at_risk_weight,
)

pytestmark = pytest.mark.filterwarnings("error")

TAILS = st.sampled_from([0.05, 0.01, 0.025, 0.1, 0.5])
QUANTILES = st.sampled_from(Quantile)
MONEY = st.floats(-1e6, 1e6)
SEEDS = st.integers(0, 9_999)


def _matrices(portfolios: int) -> st.SearchStrategy[FloatArray]:
    scenarios = st.integers(1, 300)
    return scenarios.flatmap(lambda count: arrays(np.float64, (portfolios, count), elements=MONEY))


def _likely(scenarios: int, seed: int) -> FloatArray:
    """Weights of which nothing is special but that they sum to 1."""
    weight = np.random.default_rng(seed).gamma(0.7, size=scenarios) + 1e-6
    return np.asarray(weight / weight.sum())


# --- value at risk ----------------------------------------------------------------------------------------------------


@given(pnl=_matrices(3), tail=TAILS)
def test_value_at_risk_is_the_lower_quantile_of_numpy(pnl: FloatArray, tail: float) -> None:
    by_numpy = np.quantile(-pnl, 1.0 - tail, axis=1, method="inverted_cdf")
    assert np.array_equal(value_at_risk(pnl, tail), by_numpy)


@pytest.mark.parametrize("tail", [0.05, 0.025, 0.01])
def test_value_at_risk_is_the_lower_quantile_of_numpy_for_every_number_of_scenarios(tail: float) -> None:
    for scenarios in range(1, 2001):
        loss = np.arange(float(scenarios))
        ours = value_at_risk(-loss[None, :], tail)[0]
        assert ours == np.quantile(loss, 1.0 - tail, method="inverted_cdf"), scenarios


@given(pnl=_matrices(3), tail=TAILS)
def test_the_linear_quantile_is_the_one_numpy_draws_by_itself(pnl: FloatArray, tail: float) -> None:
    ours = value_at_risk(pnl, tail, quantile=Quantile.LINEAR)
    assert ours == pytest.approx(np.quantile(-pnl, 1.0 - tail, axis=1), rel=1e-12, abs=1e-8)


def test_the_linear_quantile_falls_on_a_scenario_where_its_rank_is_whole() -> None:
    # 100 of 2001 scenarios are a twentieth of the way from the worst to the best.
    pnl = -np.arange(2001.0)[None, :]
    for tail in (0.05, 1.0 - 0.95):
        at_risk = value_at_risk(pnl, tail, quantile=Quantile.LINEAR)
        assert at_risk[0] == 1900.0
        assert scenario_of(pnl, at_risk)[0] == 1900


def test_a_tail_with_a_rounding_error_is_the_tail_that_was_meant() -> None:
    assert math.ceil((1.0 - 0.95) * 1000) == 51
    pnl = -np.arange(1000.0)[None, :]
    equal = np.full(1000, 1.0 / 1000)
    for weight in (None, equal):
        assert value_at_risk(pnl, 1.0 - 0.95, weight)[0] == value_at_risk(pnl, 0.05, weight)[0] == 949.0
        assert value_at_risk(pnl, 1.0 - 0.99, weight)[0] == value_at_risk(pnl, 0.01, weight)[0] == 989.0
        assert expected_shortfall(pnl, 1.0 - 0.95, weight)[0] == pytest.approx(974.5, abs=1e-9)
        # The error may also fall short: 1 - 0.9 of a thousand is 99.99999999999997.
        assert value_at_risk(pnl, 1.0 - 0.9, weight)[0] == value_at_risk(pnl, 0.1, weight)[0] == 899.0


def test_value_at_risk_by_hand() -> None:
    pnl = np.array([[3.0, -10.0, 1.0, -6.0, -2.0]])
    # A fifth of five is one scenario wholly inside the tail: the next one is the quantile.
    assert value_at_risk(pnl, 0.2)[0] == 6.0
    assert value_at_risk(pnl, 0.19)[0] == 10.0
    assert scenario_of(pnl, value_at_risk(pnl, 0.2))[0] == 3


def test_the_linear_quantile_by_hand() -> None:
    pnl = np.array([[3.0, -10.0, 1.0, -6.0, -2.0]])
    # 30 % of four steps from the worst are 1.2: a fifth of the way from the loss of 6 to that of 2.
    at_risk = value_at_risk(pnl, 0.3, quantile=Quantile.LINEAR)
    assert at_risk[0] == pytest.approx(5.2)
    assert scenario_of(pnl, at_risk)[0] == NO_SCENARIO


def test_a_sure_gain_is_a_negative_value_at_risk() -> None:
    pnl = np.array([[3.0, 5.0, 4.0]])
    assert value_at_risk(pnl, 0.05)[0] == -3.0
    assert expected_shortfall(pnl, 0.05)[0] == -3.0


def test_nothing_at_risk_is_zero_and_never_minus_zero() -> None:
    for pnl in (np.zeros((1, 100)), -np.zeros((1, 100)), np.zeros((1, 100), np.float32)):
        for weight in (None, np.full(100, 0.01)):
            for quantile in Quantile:
                assert math.copysign(1.0, value_at_risk(pnl, 0.05, weight, quantile)[0]) == 1.0
            assert math.copysign(1.0, expected_shortfall(pnl, 0.025, weight)[0]) == 1.0


@given(pnl=_matrices(2), tail=TAILS)
def test_the_scenario_of_value_at_risk_lost_just_that(pnl: FloatArray, tail: float) -> None:
    for exact in (pnl, pnl.astype(np.float32)):
        scenario = scenario_of(exact, value_at_risk(exact, tail))
        assert np.array_equal(-exact[np.arange(2), scenario], value_at_risk(exact, tail))


def test_the_scenario_of_value_at_risk_is_the_earliest_of_equals() -> None:
    pnl = np.array([[0.0, -1.0, -5.0, -1.0, -1.0]])
    assert scenario_of(pnl, value_at_risk(pnl, 0.3))[0] == 1


def test_a_loss_that_no_scenario_had_is_that_of_none() -> None:
    assert scenario_of(np.array([[1.0, -2.0], [1.0, -2.0]]), np.array([2.0, math.nan])).tolist() == [1, NO_SCENARIO]


# --- expected shortfall -----------------------------------------------------------------------------------------------


def test_expected_shortfall_by_hand() -> None:
    pnl = np.array([[-10.0, -6.0, -2.0, 1.0, 3.0]])
    # The worst 30 % of five scenarios: all of the -10, half of the -6.
    assert expected_shortfall(pnl, 0.3)[0] == pytest.approx((10 + 6 / 2) / 1.5)
    # Less than one scenario: the worst.
    assert expected_shortfall(pnl, 0.05)[0] == 10.0


@given(pnl=_matrices(2), tail=TAILS)
def test_expected_shortfall_is_the_integral_of_value_at_risk(pnl: FloatArray, tail: float) -> None:
    """Acerbi-Tasche's definition, (1/p) times the integral of the quantile over the tail, piece by piece."""
    scenarios = pnl.shape[1]
    loss = np.sort(-pnl, axis=1)[:, ::-1]
    edge = np.minimum(np.arange(scenarios + 1) / scenarios, tail)
    integral = (loss * np.diff(edge)).sum(axis=1) / tail
    assert expected_shortfall(pnl, tail) == pytest.approx(integral, rel=1e-9, abs=1e-6)


@given(pnl=_matrices(1), tail=TAILS)
def test_expected_shortfall_is_the_least_that_rockafellar_and_uryasev_can_reach(pnl: FloatArray, tail: float) -> None:
    """The minimum over every level of level + mean(excess over it) / p, attained at value at risk."""
    loss = -pnl[0]
    reached = [level + np.maximum(loss - level, 0.0).mean() / tail for level in loss]
    assert expected_shortfall(pnl, tail)[0] == pytest.approx(min(reached), rel=1e-9, abs=1e-6)


@given(pnl=_matrices(2), tail=TAILS, seed=SEEDS)
def test_expected_shortfall_is_never_less_than_value_at_risk(pnl: FloatArray, tail: float, seed: int) -> None:
    # Between scenarios of very unequal weight a linear quantile means little, and this is not said of it.
    uneven = _likely(pnl.shape[1], seed)
    for weight, quantile in ((None, Quantile.LOWER), (None, Quantile.LINEAR), (uneven, Quantile.LOWER)):
        at_risk, shortfall = tail_risk(pnl, [tail], weight, quantile)[0]
        assert (shortfall >= at_risk - 1e-6).all()


@given(pnl=_matrices(2), tail=TAILS, seed=st.none() | SEEDS)
def test_holding_two_portfolios_together_is_never_riskier_than_apart(
    pnl: FloatArray, tail: float, seed: int | None
) -> None:
    weight = None if seed is None else _likely(pnl.shape[1], seed)
    together = expected_shortfall(pnl.sum(axis=0, keepdims=True), tail, weight)
    apart = expected_shortfall(pnl, tail, weight)
    assert together.sum() <= apart.sum() + 1e-5


@given(pnl=_matrices(2), tail=TAILS, factor=st.floats(0.01, 100.0), gift=st.floats(-1e4, 1e4))
def test_tail_measures_scale_with_money_and_fall_by_what_is_given(
    pnl: FloatArray, tail: float, factor: float, gift: float
) -> None:
    for risk in (value_at_risk, expected_shortfall):
        assert risk(factor * pnl + gift, tail) == pytest.approx(factor * risk(pnl, tail) - gift, rel=1e-9, abs=1e-4)


@given(pnl=_matrices(2), seed=st.none() | SEEDS, quantile=QUANTILES)
def test_a_larger_tail_never_loses_more(pnl: FloatArray, seed: int | None, quantile: Quantile) -> None:
    weight = None if seed is None else _likely(pnl.shape[1], seed)
    levels = tail_risk(pnl, [0.5, 0.2, 0.1, 0.05, 0.025, 0.01, 0.001], weight, quantile)
    for measure in zip(*levels, strict=True):
        assert (np.diff(np.array(measure), axis=0) >= -1e-6).all()


@given(pnl=_matrices(2), tail=TAILS, seed=SEEDS)
def test_the_order_of_scenarios_does_not_matter_to_the_tail(pnl: FloatArray, tail: float, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(pnl.shape[1])
    assert np.array_equal(value_at_risk(pnl[:, order], tail), value_at_risk(pnl, tail))
    assert np.array_equal(expected_shortfall(pnl[:, order], tail), expected_shortfall(pnl, tail))
    weight = _likely(pnl.shape[1], seed)
    shuffled, in_order = tail_risk(pnl[:, order], [tail], weight[order])[0], tail_risk(pnl, [tail], weight)[0]
    assert np.array_equal(shuffled.value_at_risk, in_order.value_at_risk)
    assert shuffled.expected_shortfall == pytest.approx(in_order.expected_shortfall, rel=1e-9, abs=1e-6)


@given(pnl=_matrices(3), seed=st.none() | SEEDS, quantile=QUANTILES)
def test_tails_asked_for_together_are_those_asked_for_one_by_one(
    pnl: FloatArray, seed: int | None, quantile: Quantile
) -> None:
    tails = [0.05, 0.01, 0.025, 0.4]
    weight = None if seed is None else _likely(pnl.shape[1], seed)
    for tail, together in zip(tails, tail_risk(pnl, tails, weight, quantile), strict=True):
        assert np.array_equal(together.value_at_risk, value_at_risk(pnl, tail, weight, quantile))
        assert together.expected_shortfall == pytest.approx(
            expected_shortfall(pnl, tail, weight), rel=1e-12, abs=1e-9
        )  # fmt: skip


def test_float32_is_summed_in_float64() -> None:
    pnl = np.random.default_rng(4).standard_normal((3, 2000)).astype(np.float32)
    narrow, wide = tail_risk(pnl, [0.025])[0], tail_risk(pnl.astype(np.float64), [0.025])[0]
    assert narrow.value_at_risk.dtype == narrow.expected_shortfall.dtype == np.float64
    assert np.array_equal(narrow.value_at_risk, wide.value_at_risk)
    assert np.array_equal(narrow.expected_shortfall, wide.expected_shortfall)


def test_published_figures_of_the_normal_law() -> None:
    """Basel's comparison: ES 97.5 % of a normal is 2.3378 standard deviations, VaR 99 % is 2.3263."""
    scenarios = 400_000
    pnl = norm.ppf((np.arange(scenarios) + 0.5) / scenarios)[None, :]
    assert expected_shortfall(pnl, 0.025)[0] == pytest.approx(2.3378, abs=1e-4)
    assert value_at_risk(pnl, 0.01)[0] == pytest.approx(2.3263, abs=1e-4)
    assert value_at_risk(pnl, 0.05)[0] == pytest.approx(1.6449, abs=1e-4)


# --- unequally likely scenarios ---------------------------------------------------------------------------------------


def test_weighted_tails_by_hand() -> None:
    pnl = np.array([[3.0, -10.0, 1.0, -6.0, -2.0]])
    weight = np.array([0.5, 0.02, 0.3, 0.03, 0.15])
    # From the worst: 10 weighs 0.02, 6 weighs 0.03, 2 weighs 0.15.
    assert value_at_risk(pnl, 0.04, weight)[0] == 6.0
    assert expected_shortfall(pnl, 0.04, weight)[0] == pytest.approx((0.02 * 10 + 0.02 * 6) / 0.04)
    # 0.05 is used up by the first two.
    assert value_at_risk(pnl, 0.05, weight)[0] == 2.0
    assert expected_shortfall(pnl, 0.05, weight)[0] == pytest.approx((0.02 * 10 + 0.03 * 6) / 0.05)
    assert expected_shortfall(pnl, 0.1, weight)[0] == pytest.approx((0.02 * 10 + 0.03 * 6 + 0.05 * 2) / 0.1)


def test_the_weighted_linear_quantile_by_hand() -> None:
    pnl, weight = np.array([[-8.0, -4.0, -2.0, 1.0]]), np.array([0.1, 0.2, 0.3, 0.4])
    # They stand at 0, 1 x 0.2 + 3 x 0.1, 2 x 0.3 + 3 x 0.3 and 3; a quarter of the way, 0.75, is between 0.5 and 1.5.
    assert value_at_risk(pnl, 0.25, weight, Quantile.LINEAR)[0] == pytest.approx(4.0 + 0.25 * (2.0 - 4.0))


@given(pnl=_matrices(2), tail=TAILS, quantile=QUANTILES)
def test_equal_weights_are_no_weights(pnl: FloatArray, tail: float, quantile: Quantile) -> None:
    equal = np.full(pnl.shape[1], 1.0 / pnl.shape[1])
    weighted, plain = tail_risk(pnl, [tail], equal, quantile)[0], tail_risk(pnl, [tail], None, quantile)[0]
    assert weighted.value_at_risk == pytest.approx(plain.value_at_risk, rel=1e-9, abs=1e-5)
    assert weighted.expected_shortfall == pytest.approx(plain.expected_shortfall, rel=1e-9, abs=1e-5)


@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=60).filter(any),
    tail=st.sampled_from([0.05, 0.01, 0.025, 0.25]),
    seed=SEEDS,
)
def test_a_scenario_that_is_thrice_as_likely_is_a_scenario_met_three_times(
    counts: list[int], tail: float, seed: int
) -> None:
    pnl = np.random.default_rng(seed).normal(0.0, 100.0, (1, len(counts)))
    weight = np.array(counts, np.float64) / sum(counts)
    weighted, repeated = tail_risk(pnl, [tail], weight)[0], tail_risk(np.repeat(pnl, counts, axis=1), [tail])[0]
    assert np.array_equal(weighted.value_at_risk, repeated.value_at_risk)
    assert weighted.expected_shortfall == pytest.approx(repeated.expected_shortfall, rel=1e-9)


@given(pnl=_matrices(1), tail=TAILS, seed=SEEDS)
def test_weighted_value_at_risk_is_the_weighted_lower_quantile_of_numpy(
    pnl: FloatArray, tail: float, seed: int
) -> None:
    weight = _likely(pnl.shape[1], seed)
    by_numpy = np.quantile(-pnl[0], 1.0 - tail, weights=weight, method="inverted_cdf")
    assert value_at_risk(pnl, tail, weight)[0] == by_numpy


@settings(max_examples=20, deadline=None)
@given(tail=TAILS, seed=SEEDS)
def test_weighted_expected_shortfall_is_the_integral_of_weighted_value_at_risk(tail: float, seed: int) -> None:
    pnl, weight = np.random.default_rng(seed).standard_normal((1, 12)), _likely(12, seed)
    edges = np.cumsum(weight[np.argsort(pnl[0])])
    integral, _ = quad(lambda p: value_at_risk(pnl, p, weight)[0], 0.0, tail, points=edges[edges < tail], limit=200)
    assert expected_shortfall(pnl, tail, weight)[0] == pytest.approx(integral / tail, rel=1e-9)


def test_weights_of_another_number_of_scenarios_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(9,\) weights for 10 scenarios"):
        value_at_risk(np.zeros((1, 10)), 0.05, np.full(9, 1 / 9))


# --- how much of each scenario is in a measure ------------------------------------------------------------------------


@given(pnl=_matrices(1), tail=TAILS, seed=st.none() | SEEDS, quantile=QUANTILES)
def test_value_at_risk_is_a_mean_of_one_scenario_or_two(
    pnl: FloatArray, tail: float, seed: int | None, quantile: Quantile
) -> None:
    weight = None if seed is None else _likely(pnl.shape[1], seed)
    inside = value_at_risk_weight(pnl[0], tail, weight, quantile)
    assert 0.0 - pnl[0] @ inside == pytest.approx(value_at_risk(pnl, tail, weight, quantile)[0], rel=1e-12, abs=1e-8)
    assert inside.sum() == pytest.approx(1.0, abs=1e-15)
    assert np.count_nonzero(inside) <= (1 if quantile is Quantile.LOWER else 2)


@given(pnl=_matrices(1), tail=TAILS, seed=st.none() | SEEDS, other=SEEDS)
def test_expected_shortfall_is_the_worst_mean_that_no_scenario_dominates(
    pnl: FloatArray, tail: float, seed: int | None, other: int
) -> None:
    """Its dual form: of all reweightings by at most 1/p of a scenario's own, the one that loses most."""
    scenarios = pnl.shape[1]
    weight = None if seed is None else _likely(scenarios, seed)
    inside = expected_shortfall_weight(pnl[0], tail, weight)
    shortfall = expected_shortfall(pnl, tail, weight)[0]
    most = (np.full(scenarios, 1.0 / scenarios) if weight is None else weight) / tail

    assert 0.0 - pnl[0] @ inside == pytest.approx(shortfall, rel=1e-9, abs=1e-6)
    assert inside.sum() == pytest.approx(1.0, abs=1e-12)
    assert (inside >= 0.0).all()
    assert (inside <= most * (1.0 + 1e-9)).all()
    elsewhere = expected_shortfall_weight(np.random.default_rng(other).standard_normal(scenarios), tail, weight)
    assert 0.0 - pnl[0] @ elsewhere <= shortfall + 1e-5


def test_the_weights_of_both_measures_by_hand() -> None:
    pnl = np.array([3.0, -10.0, 1.0, -6.0, -2.0])
    assert value_at_risk_weight(pnl, 0.2).tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert value_at_risk_weight(pnl, 0.3, quantile=Quantile.LINEAR) == pytest.approx([0.0, 0.0, 0.0, 0.8, 0.2])
    # All of the worst and half of the next: two thirds and one third.
    assert expected_shortfall_weight(pnl, 0.3) == pytest.approx([0.0, 2 / 3, 0.0, 1 / 3, 0.0])


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [0.0, 1.0, -0.05, 5.0, math.nan])
def test_a_tail_that_is_no_probability_is_refused(tail: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        value_at_risk(np.zeros((1, 10)), tail)
    with pytest.raises(ValueError, match="no probability"):
        expected_shortfall_weight(np.zeros(10), tail)


def test_a_tail_of_no_scenarios_is_refused() -> None:
    with pytest.raises(ValueError, match="no scenarios"):
        expected_shortfall(np.zeros((1, 0)), 0.05)
    with pytest.raises(ValueError, match="no scenarios"):
        value_at_risk_weight(np.zeros(0), 0.05)
