"""The risk number: anchors, rounding, bands, and who is at risk."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.score import (
    ANCHORS,
    AT_RISK_NUMBER,
    HYSTERESIS,
    LIST_STEPS,
    RiskBand,
    is_at_risk,
    list_score,
    risk_band,
    risk_number,
    risk_score,
    six_month_loss,
)

pytestmark = pytest.mark.filterwarnings("error")


def _volatility_that_loses(percent: float) -> FloatArray:
    return np.array([percent / 100.0 / (1.6449 * math.sqrt(126))])


@pytest.mark.parametrize(
    ("loss_percent", "number"),
    [(0, 1), (1.5, 20), (5.5, 35), (9.5, 50), (15, 70), (20, 85), (25, 90), (35, 95), (40, 97), (55, 99), (300, 99)],
)
def test_the_curve_passes_through_its_anchors(loss_percent: float, number: int) -> None:
    score = risk_score(_volatility_that_loses(loss_percent), np.zeros(1))
    assert score[0] == pytest.approx(number, abs=1e-9)
    assert risk_number(score)[0] == number


@given(st.lists(st.floats(0.0, 60.0), min_size=1))
def test_the_curve_is_the_one_scipy_draws_through_the_anchors(losses: list[float]) -> None:
    scipys = PchipInterpolator(*np.array(ANCHORS).T)
    ours = risk_score(np.array([_volatility_that_loses(loss)[0] for loss in losses]), np.zeros(len(losses)))
    assert ours == pytest.approx(np.clip(scipys(np.minimum(losses, 55.0)), 1.0, 99.0), abs=1e-9)


def test_six_month_loss_by_hand() -> None:
    # 1 % a day: 1.6449 x 0.01 x 11.225 is 18.46 %; a mean of 0.05 % a day gives 6.3 % of it back.
    loss = six_month_loss(np.array([0.01]), np.array([0.0005]))
    assert loss[0] == pytest.approx(0.184640 - 0.063, abs=1e-6)


def test_a_portfolio_that_only_gains_scores_one() -> None:
    assert risk_score(np.array([0.001]), np.array([0.01]))[0] == 1.0


@given(st.floats(0.0, 0.2), st.floats(0.0, 0.2), st.floats(-0.01, 0.01))
def test_more_volatility_never_scores_lower(one: float, other: float, mean: float) -> None:
    lower, higher = risk_score(np.array(sorted([one, other])), np.full(2, mean))
    assert 1.0 <= lower <= higher <= 99.0


@given(st.floats(1.0, 99.0), st.integers(2, 99))
def test_a_number_is_at_the_threshold_exactly_when_its_score_is_half_a_point_below_it(
    score: float, threshold: int
) -> None:
    assert (risk_number(np.array([score]))[0] >= threshold) == (score >= threshold - 0.5)


@pytest.mark.parametrize("threshold", range(2, 100))
def test_a_score_on_the_half_is_rounded_up(threshold: int) -> None:
    assert risk_number(np.array([threshold - 0.5]))[0] == threshold
    assert risk_number(np.array([np.nextafter(threshold - 0.5, 0.0)]))[0] == max(threshold - 1, 1)


@given(st.floats(1.0, 99.0), st.integers(2, 99))
def test_a_list_in_steps_is_cut_at_a_number_where_the_scores_would_be(score: float, threshold: int) -> None:
    listed = list_score(np.array([score]))
    assert (listed[0] >= threshold - 0.5) == (risk_number(np.array([score]))[0] >= threshold)
    assert risk_number(listed)[0] == risk_number(np.array([score]))[0]


@given(st.lists(st.floats(1.0, 99.0), min_size=2))
def test_a_list_in_steps_is_in_the_order_of_the_scores_to_a_sixteenth(scores: list[float]) -> None:
    listed = list_score(np.array(sorted(scores)))
    assert (np.diff(listed) >= 0.0).all()
    assert (np.abs(listed - sorted(scores)) < 1 / LIST_STEPS).all()


def test_the_place_in_a_list_by_hand() -> None:
    # 57.12 lies between 57 1/16 (57.0625) and 57 2/16: six decimals at most, all of them exact.
    assert list_score(np.array([57.12, 57.5, 1.0, math.nan])) == pytest.approx(
        [57.0625, 57.5, 1.0, math.nan], nan_ok=True
    )


def test_what_is_not_defined_has_no_score() -> None:
    score = risk_score(np.array([np.nan, 0.01]), np.array([0.0, np.nan]))
    assert np.isnan(score).all()
    assert np.isnan(risk_number(score)).all()


@pytest.mark.parametrize(
    ("number", "band"),
    [
        (1, RiskBand.LOW),
        (29, RiskBand.LOW),
        (30, RiskBand.MODERATE),
        (69, RiskBand.MODERATE),
        (70, RiskBand.HIGH),
        (99, RiskBand.HIGH),
    ],
)
def test_bands(number: int, band: RiskBand) -> None:
    assert risk_band(number) is band


# --- at risk ----------------------------------------------------------------------------------------------------------

NUMBERS = st.integers(1, 99)
THRESHOLDS = st.integers(HYSTERESIS + 2, 99)
"""A lower threshold cannot be left: no number is below its band."""


def _history(numbers: list[int], threshold: int, at_first: bool = False) -> list[bool]:
    """Whether a portfolio is at risk, at first and after each of its numbers."""
    states = [at_first]
    for number in numbers:
        states.append(is_at_risk(number, threshold, states[-1]))
    return states


def _flips(states: list[bool]) -> int:
    return sum(before != after for before, after in pairwise(states))


def test_at_risk_by_hand() -> None:
    numbers = [69, 70, 69, 67, 66, 69, 70]
    assert _history(numbers, 70)[1:] == [False, True, True, True, False, False, True]


def test_a_portfolio_without_a_number_is_not_at_risk() -> None:
    assert not is_at_risk(None, 70, was_at_risk=False)
    assert not is_at_risk(None, 70, was_at_risk=True)


@given(NUMBERS, THRESHOLDS)
def test_from_the_threshold_on_a_portfolio_is_at_risk_whatever_it_was(number: int, threshold: int) -> None:
    if number >= threshold:
        assert _history([number], threshold, True)[1] is _history([number], threshold, False)[1] is True
    if number < threshold - HYSTERESIS:
        assert _history([number], threshold, True)[1] is _history([number], threshold, False)[1] is False


@given(st.data(), THRESHOLDS, st.booleans())
def test_a_number_that_swings_within_the_band_changes_nothing(
    data: st.DataObject, threshold: int, at_first: bool
) -> None:
    within = data.draw(st.lists(st.integers(threshold - HYSTERESIS, threshold - 1)))
    assert _flips(_history(within, threshold, at_first)) == 0


@given(st.data(), THRESHOLDS, st.booleans())
def test_a_number_that_swings_about_either_edge_of_the_band_never_flips_twice(
    data: st.DataObject, threshold: int, at_first: bool
) -> None:
    about_threshold = data.draw(st.lists(st.integers(threshold - HYSTERESIS, 99)))
    about_leaving = data.draw(st.lists(st.integers(1, threshold - 1)))
    assert _flips(_history(about_threshold, threshold, at_first)) <= 1
    assert _flips(_history(about_leaving, threshold, at_first)) <= 1


@given(st.lists(st.tuples(NUMBERS, NUMBERS)), THRESHOLDS)
def test_the_riskier_of_two_portfolios_is_at_risk_whenever_the_other_is(
    numbers: list[tuple[int, int]], threshold: int
) -> None:
    calmer = _history([min(pair) for pair in numbers], threshold)
    riskier = _history([max(pair) for pair in numbers], threshold)
    assert all(other for one, other in zip(calmer, riskier, strict=True) if one)


@given(NUMBERS, st.tuples(THRESHOLDS, THRESHOLDS), st.booleans())
def test_a_higher_threshold_never_adds_to_those_at_risk(
    number: int, thresholds: tuple[int, int], was_at_risk: bool
) -> None:
    higher = is_at_risk(number, max(thresholds), was_at_risk)
    assert is_at_risk(number, min(thresholds), was_at_risk) or not higher


def test_the_band_at_the_default_threshold_is_worth_more_than_a_twentieth_of_the_loss() -> None:
    still_at_risk = risk_score(_volatility_that_loses(15.0 * 0.95), np.zeros(1))
    assert risk_number(still_at_risk)[0] >= AT_RISK_NUMBER - HYSTERESIS
    no_longer = risk_score(_volatility_that_loses(15.0 * 0.93), np.zeros(1))
    assert risk_number(no_longer)[0] < AT_RISK_NUMBER - HYSTERESIS
