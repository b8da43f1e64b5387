"""A client's tolerance beside the risk number."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.messages import RiskTolerance
from plimsoll.risk.alignment import TOLERANCE_GAP, TOLERANCE_NUMBERS, Verdict, alignment
from plimsoll.risk.score import risk_number, risk_score

NUMBERS = st.integers(1, 99)
TOLERANCES = st.sampled_from(sorted(TOLERANCE_NUMBERS))


def test_every_tolerance_that_a_portfolio_can_have_has_a_number() -> None:
    assert set(TOLERANCE_NUMBERS) == {str(tolerance) for tolerance in RiskTolerance}
    assert all(alignment(50, tolerance) is not None for tolerance in RiskTolerance)


@pytest.mark.parametrize(
    ("tolerance", "six_month_loss"), [("Conservative", 0.055), ("Moderate", 0.095), ("Aggressive", 0.15)]
)
def test_a_tolerance_is_the_number_of_the_loss_it_stands_for(tolerance: str, six_month_loss: float) -> None:
    volatility = np.array([six_month_loss / (1.6449 * math.sqrt(126))])
    assert risk_number(risk_score(volatility, np.zeros(1)))[0] == TOLERANCE_NUMBERS[tolerance]


@pytest.mark.parametrize(
    ("number", "gap", "verdict"),
    [
        (39, -11, Verdict.TOO_CAUTIOUS),
        (40, -10, Verdict.ALIGNED),
        (50, 0, Verdict.ALIGNED),
        (60, 10, Verdict.ALIGNED),
        (61, 11, Verdict.TOO_RISKY),
    ],
)
def test_alignment_by_hand(number: int, gap: int, verdict: Verdict) -> None:
    assert alignment(number, "Moderate") == (50, gap, verdict)


@given(NUMBERS, TOLERANCES)
def test_the_tolerance_and_the_gap_give_the_number_back_unbent(number: int, tolerance: str) -> None:
    beside = alignment(number, tolerance)
    assert beside is not None
    assert beside.tolerance_number + beside.gap == number
    assert (beside.verdict is not Verdict.ALIGNED) == (abs(beside.gap) > TOLERANCE_GAP)


@given(NUMBERS, NUMBERS, TOLERANCES)
def test_more_risk_is_never_called_more_cautious(one: int, other: int, tolerance: str) -> None:
    order = [Verdict.TOO_CAUTIOUS, Verdict.ALIGNED, Verdict.TOO_RISKY]
    calmer, riskier = alignment(min(one, other), tolerance), alignment(max(one, other), tolerance)
    assert calmer is not None
    assert riskier is not None
    assert order.index(calmer.verdict) <= order.index(riskier.verdict)


@given(st.integers(min(TOLERANCE_NUMBERS.values()), max(TOLERANCE_NUMBERS.values())))
def test_a_number_between_two_tolerances_suits_at_least_one(number: int) -> None:
    beside = [alignment(number, tolerance) for tolerance in TOLERANCE_NUMBERS]
    assert any(each is not None and each.verdict is Verdict.ALIGNED for each in beside)


def test_a_portfolio_without_a_number_is_compared_with_nothing() -> None:
    assert alignment(None, "Moderate") is None


@pytest.mark.parametrize("number", [50, None])
def test_an_unknown_tolerance_is_named_with_the_known_ones(number: int | None) -> None:
    with pytest.raises(ValueError, match=r"'moderate'.*Conservative, Moderate, Aggressive"):
        alignment(number, "moderate")
