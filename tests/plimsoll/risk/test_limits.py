"""Limits, and what a trade breaches of them."""

import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.risk.limits import Breach, LimitCode, Limits, Standing, breaches

SOUND = Standing(
    exposure={"A": 200.0, "B": 200.0, "C": 200.0, "D": 200.0, "E": -200.0},
    cash=400.0,
    risk_number=50,
    tolerance="Moderate",
    var_99_fraction=0.03,
)
"""Gross 1,000, market value 1,000: within every limit."""


def _codes(found: list[Breach]) -> list[LimitCode]:
    return [breach.code for breach in found]


def _only(after: Standing, limits: Limits | None = None) -> Breach:
    """The one breach there is, of a trade that began with a sound portfolio."""
    (breach,) = breaches(SOUND, after, limits or Limits())
    assert not breach.already_breached
    return breach


def test_a_sound_portfolio_breaches_nothing() -> None:
    assert breaches(SOUND, SOUND) == []


# --- each limit by hand -----------------------------------------------------------------------------------------------


def test_a_portfolio_is_at_risk_from_the_threshold_on() -> None:
    breach = _only(replace(SOUND, risk_number=70, tolerance="Aggressive"))
    assert (breach.code, breach.value, breach.bound, breach.symbol) == (LimitCode.AT_RISK, 70, 70, None)
    assert breach.message == "The risk number is 70; from 70 on a portfolio is at risk."
    assert breaches(SOUND, replace(SOUND, risk_number=69, tolerance="Aggressive")) == []


def test_a_number_more_than_ten_points_above_the_tolerance_is_a_breach_and_one_below_it_is_none() -> None:
    breach = _only(replace(SOUND, risk_number=61))
    assert (breach.code, breach.value, breach.bound) == (LimitCode.ABOVE_TOLERANCE, 11, 10)
    assert breach.message == (
        "The risk number is 61, 11 above the 50 of a client whose tolerance is Moderate; at most 10 above is agreed."
    )
    assert breaches(SOUND, replace(SOUND, risk_number=60)) == []
    assert breaches(SOUND, replace(SOUND, risk_number=1)) == []


def test_a_single_name_is_measured_by_gross_exposure_and_named() -> None:
    # 300 of 1,000 gross, whichever way it points.
    breach = _only(replace(SOUND, exposure={**SOUND.exposure, "D": 100.0, "E": -300.0}))
    assert (breach.code, breach.symbol, breach.bound) == (LimitCode.SINGLE_NAME, "E", 0.25)
    assert breach.value == pytest.approx(0.3)
    assert breach.message == "E is 30.00 % of gross exposure; one name may be at most 25.00 %."


def test_every_name_above_the_limit_is_told_the_largest_first() -> None:
    found = breaches(SOUND, replace(SOUND, exposure={"A": 300.0, "B": -400.0, "C": 200.0, "D": 100.0}, cash=800.0))
    assert [(breach.code, breach.symbol) for breach in found] == [
        (LimitCode.SINGLE_NAME, "B"),
        (LimitCode.SINGLE_NAME, "A"),
    ]


def test_leverage_is_gross_exposure_over_market_value() -> None:
    # 1,000 gross on 500 of value.
    breach = _only(replace(SOUND, exposure={"A": 150.0, "B": 150.0, "C": 200.0, "D": -250.0, "E": -250.0}, cash=500.0))
    assert (breach.code, breach.value, breach.bound) == (LimitCode.LEVERAGE, 2.0, 1.5)
    assert breach.message == "Gross exposure is 2.00 times market value; at most 1.50 times is allowed."


def test_value_at_risk_is_a_fraction_of_market_value() -> None:
    breach = _only(replace(SOUND, var_99_fraction=0.123))
    assert (breach.code, breach.value, breach.bound) == (LimitCode.VALUE_AT_RISK, 0.123, 0.1)
    assert breach.message == ("One day's value at risk at 99 % is 12.30 % of market value; at most 10.00 % is allowed.")


def test_cash_may_not_be_borrowed() -> None:
    breach = _only(replace(SOUND, exposure=dict.fromkeys("ABCDE", 1_000.0), cash=-1_234.5))
    assert (breach.code, breach.value, breach.bound) == (LimitCode.NEGATIVE_CASH, -1_234.5, 0.0)
    assert breach.message == "Cash is -1,234.50; it may not fall below 0."


@pytest.mark.parametrize("cash", [-600.0, -700.0])
def test_without_market_value_nothing_else_is_judged(cash: float) -> None:
    breach = _only(replace(SOUND, cash=cash, risk_number=99, var_99_fraction=9.0))
    assert (breach.code, breach.value, breach.bound) == (LimitCode.NO_VALUE, cash + 600.0, 0.0)
    assert breach.message == f"Market value is {cash + 600.0:,.2f}; it has to be above 0."


def test_an_empty_portfolio_has_no_value() -> None:
    assert _codes(breaches(SOUND, Standing({}, 0.0))) == [LimitCode.NO_VALUE]
    assert breaches(SOUND, Standing({}, 1.0)) == []


def test_breaches_are_told_in_one_order() -> None:
    awful = Standing({"A": 3_000.0}, -2_000.0, risk_number=99, tolerance="Conservative", var_99_fraction=0.5)
    assert _codes(breaches(SOUND, awful)) == [code for code in LimitCode if code is not LimitCode.NO_VALUE]


# --- on the bound, and not defined ------------------------------------------------------------------------------------


@given(st.floats(1e-3, 1e9), st.integers(-3, 3))
def test_four_equal_names_are_within_a_quarter_each_however_they_round(value: float, shorts: int) -> None:
    exposure = {name: -value if index < shorts else value for index, name in enumerate("ABCD")}
    assert LimitCode.SINGLE_NAME not in _codes(breaches(SOUND, Standing(exposure, 10.0 * value)))


def test_the_rounding_of_a_price_is_no_debt() -> None:
    exposure = dict.fromkeys("ABCDEF", 0.1)
    assert breaches(SOUND, Standing(exposure, 0.6 - sum(exposure.values()) - 1e-16)) == []


def test_long_short_and_cash_that_cancel_leave_no_value() -> None:
    standing = Standing({"A": 0.1, "B": 0.2}, -0.3)
    assert standing.market_value == 0.0
    assert _codes(breaches(SOUND, standing)) == [LimitCode.NO_VALUE]


def test_what_is_not_defined_exceeds_nothing() -> None:
    unknown = replace(SOUND, risk_number=None, var_99_fraction=None)
    assert breaches(unknown, unknown) == []
    assert breaches(SOUND, replace(SOUND, var_99_fraction=math.nan)) == []
    assert breaches(SOUND, replace(SOUND, tolerance=None, risk_number=69)) == []


def test_a_sure_gain_is_no_risk() -> None:
    assert breaches(SOUND, replace(SOUND, var_99_fraction=-0.5)) == []


# --- before and after -------------------------------------------------------------------------------------------------


def test_a_limit_that_was_exceeded_before_is_told_from_one_that_the_trade_exceeds() -> None:
    before = replace(SOUND, risk_number=80, tolerance="Aggressive")
    after = replace(before, risk_number=81, var_99_fraction=0.2)
    assert [(breach.code, breach.already_breached) for breach in breaches(before, after)] == [
        (LimitCode.AT_RISK, True),
        (LimitCode.ABOVE_TOLERANCE, False),
        (LimitCode.VALUE_AT_RISK, False),
    ]


def test_one_name_too_large_is_no_excuse_for_another() -> None:
    before = replace(SOUND, exposure={"A": 400.0, "B": 200.0, "C": 200.0, "D": 200.0})
    after = replace(SOUND, exposure={"A": 300.0, "B": 300.0, "C": 200.0, "D": 200.0})
    assert [(breach.symbol, breach.already_breached) for breach in breaches(before, after)] == [
        ("A", True),
        ("B", False),
    ]


def test_a_debt_is_no_new_one_for_a_portfolio_that_had_no_value_either() -> None:
    before = Standing({"A": 100.0}, -200.0)
    (breach,) = breaches(before, Standing(dict.fromkeys("ABCDE", 200.0), -200.0))
    assert (breach.code, breach.already_breached) == (LimitCode.NEGATIVE_CASH, True)


def test_a_trade_that_heals_a_breach_has_none_to_tell() -> None:
    assert breaches(replace(SOUND, risk_number=99, var_99_fraction=0.9), SOUND) == []


STANDINGS = st.builds(
    Standing,
    exposure=st.dictionaries(st.sampled_from("ABCDEF"), st.floats(-1e6, 1e6)),
    cash=st.floats(-1e6, 1e7),
    risk_number=st.none() | st.integers(1, 99),
    tolerance=st.none() | st.sampled_from(["Conservative", "Moderate", "Aggressive"]),
    var_99_fraction=st.none() | st.floats(-0.5, 0.5),
)


@given(STANDINGS)
def test_no_trade_brings_nothing_new(standing: Standing) -> None:
    assert all(breach.already_breached for breach in breaches(standing, standing))


@given(STANDINGS, STANDINGS)
def test_which_limits_are_exceeded_does_not_depend_on_what_was_before(before: Standing, after: Standing) -> None:
    told = [replace(breach, already_breached=False) for breach in breaches(before, after)]
    assert told == [replace(breach, already_breached=False) for breach in breaches(SOUND, after)]


@given(STANDINGS)
def test_looser_limits_are_never_breached_more_often(standing: Standing) -> None:
    loose = Limits(at_risk_number=80, tolerance_gap=20, single_name_fraction=0.5, leverage=3.0, var_99_fraction=0.2)
    strict = {(breach.code, breach.symbol) for breach in breaches(SOUND, standing)}
    assert {(breach.code, breach.symbol) for breach in breaches(SOUND, standing, loose)} <= strict


@given(STANDINGS)
def test_a_sentence_names_what_it_is_about_and_ends(standing: Standing) -> None:
    for breach in breaches(SOUND, standing):
        assert breach.message.endswith(".")
        assert (breach.symbol is None) == (breach.code is not LimitCode.SINGLE_NAME)
        assert breach.symbol is None or breach.message.startswith(breach.symbol)


# --- the limits themselves --------------------------------------------------------------------------------------------


def test_own_limits_are_used() -> None:
    assert _codes(breaches(SOUND, SOUND, Limits(single_name_fraction=0.5, leverage=0.9, var_99_fraction=0.02))) == [
        LimitCode.LEVERAGE,
        LimitCode.VALUE_AT_RISK,
    ]


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
@pytest.mark.parametrize("bound", [0, -1, math.nan, math.inf])
def test_a_limit_that_is_no_positive_number_is_refused_by_name(name: str, bound: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} is "):
        Limits(**{name: bound})  # type: ignore[arg-type]


def test_an_unknown_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="'Timid'"):
        breaches(SOUND, replace(SOUND, tolerance="Timid"))
