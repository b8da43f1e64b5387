"""Backtests: the published tables, each test by hand, and a roll through closes that never looks ahead."""

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom, chi2

from plimsoll.risk.arrays import BoolArray, FloatArray
from plimsoll.risk.backtest import (
    Hold,
    Rolling,
    Zone,
    acerbi_szekely,
    christoffersen,
    cumulative_probability,
    exceptions,
    judge,
    judged,
    kupiec,
    non_rejection_region,
    rolling,
    traffic_light,
)
from plimsoll.risk.methods import RELIVE, Method, Model, ScenarioPnl, tail_risk
from plimsoll.risk.scenarios import Closes, build

pytestmark = pytest.mark.filterwarnings("error")

PROBABILITIES = st.floats(0.001, 0.5)
DAYS = arrays(np.bool_, st.integers(2, 300))
"""Whether each of some days was an exception."""


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    """Exceptions, and the days they are among."""
    days = draw(st.integers(1, 2_000))
    return draw(st.integers(0, days)), days


# --- what an exception is ---------------------------------------------------------------------------------------------


def test_an_exception_is_a_loss_strictly_beyond_value_at_risk() -> None:
    pnl = np.array([-10.0, np.nextafter(-10.0, -11.0), 10.0, 0.0])
    assert exceptions(pnl, np.full(4, 10.0)).tolist() == [False, True, False, False]


def test_a_gain_below_the_gain_that_was_certain_is_an_exception() -> None:
    assert exceptions(np.array([[1.0, 3.0]]), np.array([[-2.0, -2.0]])).tolist() == [[True, False]]


def test_a_day_without_value_at_risk_is_not_judged() -> None:
    pnl, at_risk = np.array([-10.0, -10.0, np.nan]), np.array([1.0, np.nan, 1.0])
    assert exceptions(pnl, at_risk).tolist() == [True, False, False]
    assert judged(pnl, at_risk).tolist() == [True, False, False]


# --- Kupiec -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "probability", "above", "below"),
    [
        (255, 0.01, 0, 7),
        (510, 0.01, 1, 11),
        (1000, 0.01, 4, 17),
        (255, 0.05, 6, 21),
        (510, 0.05, 16, 36),
        (1000, 0.05, 37, 65),
    ],
)
def test_the_counts_that_are_not_rejected_are_those_of_kupiecs_table(
    days: int, probability: float, above: int, below: int
) -> None:
    assert non_rejection_region(days, probability) == (above + 1, below - 1)


def test_no_exception_in_255_days_at_99_percent_is_rejected_though_the_table_prints_fewer_than_7() -> None:
    none = kupiec(0, 255, 0.01)
    assert none.statistic == pytest.approx(5.13, abs=0.005)
    assert none.rejected


def test_15_exceptions_in_1000_days_at_99_percent_are_accepted_as_hull_has_it() -> None:
    ratio = kupiec(15, 1000, 0.01)
    assert ratio.statistic == pytest.approx(2.19, abs=0.005)
    assert not ratio.rejected


def test_kupiec_by_hand() -> None:
    # 2 in 10 at 90 %: 2 (2 ln 0.2 + 8 ln 0.8 - 2 ln 0.1 - 8 ln 0.9).
    assert kupiec(2, 10, 0.1).statistic == pytest.approx(0.888060, abs=1e-6)


@given(counts(), PROBABILITIES)
def test_the_ratio_is_never_negative_and_its_p_value_is_chi_squareds(
    count: tuple[int, int], probability: float
) -> None:
    ratio = kupiec(*count, probability)
    assert ratio.statistic >= 0.0
    assert ratio.p_value == pytest.approx(chi2(1).sf(ratio.statistic), rel=1e-9, abs=1e-300)


@given(st.integers(1, 200), st.integers(2, 200))
def test_the_ratio_is_zero_where_exceptions_are_exactly_as_many_as_expected(count: int, days_for_each: int) -> None:
    ratio = kupiec(count, count * days_for_each, 1.0 / days_for_each)
    assert ratio.statistic == pytest.approx(0.0, abs=1e-9)
    assert ratio.p_value == pytest.approx(1.0, abs=1e-4)


@given(counts(), PROBABILITIES)
def test_one_exception_further_from_the_expected_number_is_never_less_suspicious(
    count: tuple[int, int], probability: float
) -> None:
    number, days = count
    further = number + 1 if number >= days * probability else number - 1
    if 0 <= further <= days:
        here, there = (kupiec(each, days, probability).statistic for each in (number, further))
        assert there >= here - 1e-9


@given(st.integers(1, 400), PROBABILITIES)
def test_the_region_is_exactly_what_kupiec_does_not_reject(days: int, probability: float) -> None:
    least, most = non_rejection_region(days, probability)
    accepted = [not kupiec(count, days, probability).rejected for count in range(days + 1)]
    assert accepted == [least <= count <= most for count in range(days + 1)]


def test_where_no_count_can_pass_there_is_no_region() -> None:
    with pytest.raises(ValueError, match="any count of exceptions in 1 days is rejected"):
        non_rejection_region(1, 0.5, level=0.5)


def test_without_days_nothing_is_rejected() -> None:
    ratio = kupiec(0, 0, 0.01)
    assert math.isnan(ratio.statistic)
    assert math.isnan(ratio.p_value)
    assert not ratio.rejected


@pytest.mark.parametrize("count", [(-1, 10), (11, 10)])
def test_more_exceptions_than_days_are_refused(count: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"{count[0]} exceptions in 10 days"):
        kupiec(*count, 0.01)


@pytest.mark.parametrize("probability", [0.0, 1.0, 95.0, math.nan])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    for refuses in (
        lambda: kupiec(1, 10, probability),
        lambda: christoffersen(np.zeros(10, np.bool_), probability),
        lambda: cumulative_probability(1, 10, probability),
        lambda: acerbi_szekely(np.zeros(1), np.ones(1), np.ones(1), probability),
    ):
        with pytest.raises(ValueError, match="is no probability between 0 and 1"):
            refuses()


# --- Christoffersen ---------------------------------------------------------------------------------------------------


def test_christoffersen_by_hand() -> None:
    found = christoffersen(np.array([0, 1, 1, 0, 0, 0, 0, 0, 0, 0], np.bool_), 0.1)
    assert (found.n00, found.n01, found.n10, found.n11) == (6, 1, 1, 1)
    # After none 1 of 7, after one 1 of 2, in all 2 of 9:
    # 2 (6 ln 6/7 + ln 1/7 + 2 ln 1/2 - 7 ln 7/9 - 2 ln 2/9). Kupiec's part is 0.888060.
    assert found.independence.statistic == pytest.approx(1.020495, abs=1e-6)
    assert found.conditional_coverage.statistic == pytest.approx(1.908555, abs=1e-6)
    assert found.conditional_coverage.p_value == pytest.approx(chi2(2).sf(1.908555), abs=1e-6)


def test_exceptions_in_a_row_are_rejected_where_as_many_far_apart_are_not() -> None:
    together, apart = np.zeros(1000, np.bool_), np.zeros(1000, np.bool_)
    together[500:510] = True
    apart[50::100] = True
    assert christoffersen(together, 0.01).independence.rejected
    assert christoffersen(together, 0.01).conditional_coverage.rejected
    assert not christoffersen(apart, 0.01).independence.rejected
    assert not christoffersen(apart, 0.01).conditional_coverage.rejected


@pytest.mark.parametrize("always", [False, True])
def test_days_that_are_all_alike_say_nothing_of_independence(always: bool) -> None:
    found = christoffersen(np.full(250, always), 0.01)
    assert found.independence == (0.0, 1.0)
    assert found.conditional_coverage.statistic == kupiec(250 * always, 250, 0.01).statistic


@pytest.mark.parametrize("days", [0, 1])
def test_fewer_than_two_days_have_no_transition(days: int) -> None:
    found = christoffersen(np.zeros(days, np.bool_), 0.01)
    assert math.isnan(found.independence.statistic)
    assert math.isnan(found.conditional_coverage.p_value)
    assert not found.conditional_coverage.rejected


@given(DAYS, PROBABILITIES)
def test_conditional_coverage_is_coverage_and_independence(hit: BoolArray, probability: float) -> None:
    found = christoffersen(hit, probability)
    coverage = kupiec(int(hit.sum()), len(hit), probability)
    assert found.independence.statistic >= 0.0
    assert found.conditional_coverage.statistic == coverage.statistic + found.independence.statistic
    assert found.conditional_coverage.p_value == pytest.approx(chi2(2).sf(found.conditional_coverage.statistic))
    assert found.n00 + found.n01 + found.n10 + found.n11 == len(hit) - 1


@given(DAYS, PROBABILITIES, st.randoms(use_true_random=False))
def test_the_order_of_days_matters_to_independence_only(hit: BoolArray, probability: float, shuffle: Random) -> None:
    order = list(range(len(hit)))
    shuffle.shuffle(order)
    one, other = christoffersen(hit, probability), christoffersen(hit[order], probability)
    assert one.conditional_coverage.statistic - one.independence.statistic == pytest.approx(
        other.conditional_coverage.statistic - other.independence.statistic, abs=1e-9
    )


# --- Basel's traffic light --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "percent"),
    list(enumerate([8.11, 28.58, 54.32, 75.81, 89.22, 95.88, 98.63, 99.60, 99.89, 99.97, 99.99])),
)
def test_cumulative_probabilities_are_those_of_basels_table(count: int, percent: float) -> None:
    assert 100.0 * cumulative_probability(count, 250, 0.01) == pytest.approx(percent, abs=0.0051)


def test_basels_zones() -> None:
    zones = [traffic_light(count) for count in range(13)]
    assert zones == [Zone.GREEN] * 5 + [Zone.YELLOW] * 5 + [Zone.RED] * 3


@given(counts(), PROBABILITIES)
def test_the_cumulative_probability_is_the_binomial_one(count: tuple[int, int], probability: float) -> None:
    number, days = count
    scipys = binom(days, probability).cdf(number)
    assert cumulative_probability(number, days, probability) == pytest.approx(scipys, rel=1e-9, abs=1e-12)


@given(st.integers(1, 1_000), PROBABILITIES)
def test_one_exception_more_never_makes_the_zone_better(days: int, probability: float) -> None:
    order = list(Zone)
    zones = [order.index(traffic_light(count, days, probability)) for count in range(min(days, 40) + 1)]
    assert zones == sorted(zones)


def test_no_exception_is_green_even_in_a_few_days() -> None:
    assert traffic_light(0, days=1) is Zone.GREEN
    assert traffic_light(0, days=0) is Zone.GREEN


# --- Acerbi-Szekely ---------------------------------------------------------------------------------------------------


def test_z2_by_hand() -> None:
    pnl, at_risk, shortfall = np.array([-12.0, 3.0, -8.0, 2.0]), np.full(4, 8.0), np.full(4, 10.0)
    # One loss beyond 8, of 12; 4 days at 25 % with a shortfall of 10: 1 - 12 / (4 x 0.25 x 10).
    assert acerbi_szekely(pnl, at_risk, shortfall, 0.25) == pytest.approx(-0.2)


def test_z2_is_zero_where_losses_are_as_many_and_as_deep_as_they_should_be() -> None:
    pnl = np.array([-8.0, 1.0, 1.0, -12.0, 1.0, 1.0, 1.0, 1.0])
    assert acerbi_szekely(pnl, np.full(8, 7.0), np.full(8, 10.0), 0.25) == pytest.approx(0.0)


def test_z2_is_one_without_exceptions() -> None:
    assert acerbi_szekely(np.ones(250), np.ones(250), np.ones(250), 0.025) == 1.0


@pytest.mark.parametrize("shortfall", [0.0, -1.0, math.nan])
def test_z2_is_not_defined_where_expected_shortfall_is_no_loss(shortfall: float) -> None:
    assert math.isnan(acerbi_szekely(np.array([-1.0, -1.0]), np.ones(2), np.array([1.0, shortfall]), 0.025))


def test_z2_is_not_defined_without_days() -> None:
    assert math.isnan(acerbi_szekely(np.empty(0), np.empty(0), np.empty(0), 0.025))


@given(arrays(np.float64, 50, elements=st.floats(-1e6, 1e6)), st.floats(1e-3, 1e3))
def test_z2_has_no_unit(pnl: FloatArray, scale: float) -> None:
    at_risk, shortfall = np.full(50, 1e3), np.full(50, 2e3)
    one = acerbi_szekely(pnl, at_risk, shortfall, 0.025)
    if not np.isclose(-pnl, at_risk).any():
        assert acerbi_szekely(scale * pnl, scale * at_risk, scale * shortfall, 0.025) == pytest.approx(one, rel=1e-9)


@given(arrays(np.float64, 50, elements=st.floats(-1e6, 1e6)), st.integers(0, 49), st.floats(0.0, 1e6))
def test_a_deeper_loss_never_raises_z2(pnl: FloatArray, day: int, deeper: float) -> None:
    at_risk, shortfall = np.full(50, 1e3), np.full(50, 2e3)
    worse = pnl.copy()
    worse[day] -= deeper
    one, other = (acerbi_szekely(each, at_risk, shortfall, 0.025) for each in (pnl, worse))
    assert other <= one + 1e-9 * abs(one)


# --- the verdict ------------------------------------------------------------------------------------------------------


def _days(count: int, bad: Sequence[int]) -> FloatArray:
    """A gain of 1 on every day but the bad ones, which lose 3."""
    pnl = np.ones(count)
    pnl[list(bad)] = -3.0
    return pnl


def test_a_verdict_holds_every_test_of_its_days() -> None:
    pnl = _days(500, [10, 20, 30, 300, 301])
    verdict = judge(pnl, np.full(500, 2.0), np.full(500, 2.5), 0.01)
    assert (verdict.days, verdict.exceptions, verdict.expected, verdict.rate) == (500, 5, 5.0, 0.01)
    assert verdict.kupiec == kupiec(5, 500, 0.01)
    assert verdict.christoffersen == christoffersen(pnl < 0.0, 0.01)
    assert verdict.z2 is None
    assert verdict.z2_rejected is None


def test_the_zone_is_that_of_the_last_250_days_at_99_percent() -> None:
    at_risk, shortfall = np.full(500, 2.0), np.full(500, 2.5)
    for bad, zone in (
        (range(240, 250), Zone.GREEN),
        (range(246, 255), Zone.YELLOW),
        (range(250, 260), Zone.RED),
    ):
        assert judge(_days(500, bad), at_risk, shortfall, 1 - 0.99).zone is zone
    assert judge(_days(500, []), at_risk, shortfall, 0.05).zone is None
    assert judge(_days(249, []), at_risk[:249], shortfall[:249], 0.01).zone is None


def test_z2_is_asked_for_at_97_and_a_half_percent_only() -> None:
    at_risk, shortfall = np.full(80, 2.0), np.full(80, 2.5)
    # 80 days at 2.5 % should have 2; these lose 3 each where 2.5 was said: 1 - n x 3 / (2 x 2.5).
    calm, stormy = (
        judge(_days(80, [3, 7]), at_risk, shortfall, 0.025),
        judge(_days(80, [3, 5, 7]), at_risk, shortfall, 0.025),
    )
    assert calm.z2 == pytest.approx(-0.2)
    assert stormy.z2 == pytest.approx(-0.8)
    assert (calm.z2_rejected, stormy.z2_rejected) == (False, True)


def test_days_without_value_at_risk_are_left_out_of_all_counts() -> None:
    pnl, at_risk, shortfall = _days(300, [10, 20, 290]), np.full(300, 2.0), np.full(300, 2.5)
    at_risk[[20, 21, 22]] = np.nan
    kept = ~np.isnan(at_risk)
    assert judge(pnl, at_risk, shortfall, 0.01) == judge(pnl[kept], at_risk[kept], shortfall[kept], 0.01)
    assert judge(pnl, at_risk, shortfall, 0.01).days == 297


def test_a_method_that_was_never_defined_gets_no_verdict_and_no_blame() -> None:
    verdict = judge(_days(300, [10]), np.full(300, np.nan), np.full(300, np.nan), 0.01)
    assert (verdict.days, verdict.exceptions, verdict.zone) == (0, 0, None)
    assert math.isnan(verdict.rate)
    assert not verdict.kupiec.rejected
    assert not verdict.christoffersen.conditional_coverage.rejected


# --- rolling ----------------------------------------------------------------------------------------------------------

WINDOW = 60
TAILS = (0.05, 0.01, 0.025)
MODEL = Model(draws=200)
QUANTITY = np.array([[10.0, 5.0, 0.0], [-4.0, 8.0, 3.0], [0.0, 0.0, 0.0]])
"""Long only, long and short, and nothing at all."""


def _market(sessions: int, symbols: int = 3, seed: int = 7) -> FloatArray:
    """(session, symbol) closes of a market that is calm and stormy by turns."""
    rng = np.random.default_rng(seed)
    storm = 1.0 + np.arange(sessions)[:, None] // 20 % 2
    return 100.0 * np.cumprod(1.0 + 0.01 * storm * rng.standard_normal((sessions, symbols)), axis=0)


def _roll(closes: FloatArray, hold: Hold = Hold.QUANTITIES, methods: Sequence[Method] = tuple(Method)) -> Rolling:
    return rolling(closes, QUANTITY, window=WINDOW, methods=methods, probabilities=TAILS, model=MODEL, hold=hold)


def _plain_volatility(returns: list[float]) -> list[float]:
    """One name's forecast for each session and the next, written as the papers write it."""
    first = returns[:75]
    variance = sum(0.94**age * each**2 for age, each in enumerate(first)) / sum(0.94**age for age in range(len(first)))
    forecast = [variance]
    for each in returns:
        variance = 0.94 * variance + 0.06 * each**2
        forecast.append(variance)
    return [math.sqrt(each) for each in forecast]


def _plain_pnl(known: FloatArray, quantity: FloatArray) -> ScenarioPnl:
    """One portfolio's scenarios of the evening that knows these closes, one name and one session at a time."""
    historical, filtered = [0.0] * WINDOW, [0.0] * WINDOW
    for symbol, units in enumerate(quantity.tolist()):
        price = known[:, symbol].tolist()
        returns = [later / earlier - 1.0 for earlier, later in pairwise(price)]
        volatility = _plain_volatility(returns)
        for scenario in range(WINDOW):
            session = len(returns) - WINDOW + scenario
            historical[scenario] += units * price[-1] * returns[session]
            filtered[scenario] += units * price[-1] * returns[session] * volatility[-1] / volatility[session]
    return ScenarioPnl(np.array([historical]), np.array([filtered]))


def test_every_day_is_what_a_plain_loop_makes_of_the_closes_before_it() -> None:
    closes = _market(100)
    rolled = _roll(closes)
    assert rolled.pnl.shape == (3, 39)
    for day in range(rolled.pnl.shape[1]):
        session = int(rolled.sessions[day])
        for portfolio in range(len(QUANTITY)):
            made = sum(QUANTITY[portfolio] * (closes[session] - closes[session - 1]))
            assert rolled.pnl[portfolio, day] == pytest.approx(made, abs=1e-9)
            pnl = _plain_pnl(closes[:session], QUANTITY[portfolio])
            for method in Method:
                for level, tail in enumerate(tail_risk(method, pnl, TAILS, MODEL)):
                    for ours, plain in (
                        (rolled.value_at_risk[method], tail.value_at_risk[0]),
                        (rolled.expected_shortfall[method], tail.expected_shortfall[0]),
                    ):
                        assert ours[portfolio, level, day] == pytest.approx(plain, rel=1e-9, abs=1e-9, nan_ok=True)


def test_historical_value_at_risk_is_numpys_lower_quantile_of_the_losses_before() -> None:
    closes = _market(70)
    rolled = _roll(closes, methods=[Method.HISTORICAL])
    loss = -(closes[8:69] / closes[7:68] - 1.0)[-WINDOW:] * closes[68] @ QUANTITY[0]
    expected = np.quantile(loss, 0.95, method="inverted_cdf")
    assert rolled.value_at_risk[Method.HISTORICAL][0, 0, -1] == pytest.approx(expected, rel=1e-12)


def test_it_is_what_the_scenario_set_of_that_evening_says() -> None:
    closes = _market(120)
    evening = Closes(
        tuple(f"2020-{day // 28 + 1:02}-{day % 28 + 1:02}" for day in range(119)), ("A", "B", "C"), closes[:-1]
    )
    scenarios = build(evening, None, WINDOW)
    exposure = QUANTITY * closes[-2]
    pnl = ScenarioPnl(exposure @ scenarios.historical.T, exposure @ scenarios.filtered.T)
    rolled = _roll(closes)
    for method in Method:
        for level, tail in enumerate(tail_risk(method, pnl, TAILS, MODEL)):
            ours = rolled.value_at_risk[method][:, level, -1], rolled.expected_shortfall[method][:, level, -1]
            assert ours[0] == pytest.approx(tail.value_at_risk, rel=1e-12, nan_ok=True)
            assert ours[1] == pytest.approx(tail.expected_shortfall, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("changed", [61, 64, 80, 98])
def test_nothing_that_was_said_before_a_close_depends_on_it(changed: int) -> None:
    closes = _market(100)
    other = closes.copy()
    other[changed:] = _market(100, seed=8)[changed:]
    one, two = _roll(closes), _roll(other)
    # The value at risk of the session that changes was said before it.
    said = changed - int(one.sessions[0]) + 1
    for method in Method:
        for before, after in (
            (one.value_at_risk[method], two.value_at_risk[method]),
            (one.expected_shortfall[method], two.expected_shortfall[method]),
        ):
            np.testing.assert_array_equal(before[:, :, :said], after[:, :, :said])
            # The first portfolio's, by every method that is defined for it, is another from the next one on.
            known = ~np.isnan(before[0, :, said:] + after[0, :, said:])
            assert (before[0, :, said:] != after[0, :, said:])[known].all()
    np.testing.assert_array_equal(one.pnl[:, : said - 1], two.pnl[:, : said - 1])
    assert (one.pnl[0, said - 1 :] != two.pnl[0, said - 1 :]).all()


def test_the_first_session_judged_has_a_whole_window_of_returns_before_it() -> None:
    rolled = _roll(_market(WINDOW + 2))
    assert rolled.sessions.tolist() == [WINDOW + 1]
    assert rolled.pnl.shape == (3, 1)
    assert rolled.probabilities == TAILS
    assert set(rolled.value_at_risk) == set(rolled.expected_shortfall) == set(Method)
    assert all(array.shape == (3, 3, 1) for array in rolled.value_at_risk.values())


def test_weights_are_those_of_the_last_close_on_every_day() -> None:
    closes = _market(100)
    rolled = _roll(closes, Hold.WEIGHTS, [Method.HISTORICAL])
    returns = closes[1:] / closes[:-1] - 1.0
    pnl = QUANTITY * closes[-1] @ returns.T
    assert rolled.pnl == pytest.approx(pnl[:, WINDOW:], abs=1e-9)
    for day in (0, 20, 38):
        expected = tail_risk(Method.HISTORICAL, ScenarioPnl(pnl[:, day : day + WINDOW], pnl), TAILS, MODEL)[1]
        assert rolled.value_at_risk[Method.HISTORICAL][:, 1, day] == pytest.approx(expected.value_at_risk, abs=1e-9)


@pytest.mark.parametrize("hold", Hold)
def test_a_move_over_sessions_that_were_left_out_is_that_of_no_day(hold: Hold) -> None:
    """A halt of twenty sessions in which everything halves: no scenario, no exception, and no volatility."""
    closes = _market(160)
    halted = closes.copy()
    halted[120:] /= 2.0
    rolled = rolling(
        halted, QUANTITY, window=WINDOW, methods=RELIVE, probabilities=TAILS, model=MODEL, hold=hold,
        follows=np.arange(1, 160) != 120,
    )  # fmt: skip
    returns = np.delete(closes[1:] / closes[:-1] - 1.0, 119, axis=0)
    money = halted[-1] if hold is Hold.WEIGHTS else np.delete(halted[:-1], 119, axis=0)
    pnl = returns * money @ QUANTITY.T
    assert rolled.sessions.tolist() == [*range(WINDOW + 1, 120), *range(121, 160)]
    assert rolled.pnl == pytest.approx(pnl[WINDOW:].T)
    exposure = QUANTITY * (money if hold is Hold.WEIGHTS else halted[158])
    last = tail_risk(Method.HISTORICAL, ScenarioPnl(exposure @ returns[-WINDOW - 1 : -1].T, pnl.T), TAILS, MODEL)
    for level, tail in enumerate(last):
        assert rolled.value_at_risk[Method.HISTORICAL][:, level, -1] == pytest.approx(tail.value_at_risk)


def test_one_name_held_has_the_same_exceptions_either_way() -> None:
    closes = _market(400, symbols=1)
    one, other = (
        rolling(closes, np.ones((1, 1)), window=100, methods=RELIVE, probabilities=TAILS, model=MODEL, hold=hold)
        for hold in Hold
    )
    for method in RELIVE:
        for level in range(len(TAILS)):
            assert one.verdict(method, 0, level).exceptions == other.verdict(method, 0, level).exceptions


def test_a_verdict_judges_the_row_it_is_asked_for() -> None:
    rolled = _roll(_market(400))
    at_risk, shortfall = rolled.value_at_risk[Method.NORMAL][1, 2], rolled.expected_shortfall[Method.NORMAL][1, 2]
    verdict = rolled.verdict(Method.NORMAL, 1, 2)
    assert verdict == judge(rolled.pnl[1], at_risk, shortfall, 0.025)
    assert verdict.exceptions == int((-rolled.pnl[1] > at_risk).sum()) > 0


def test_who_holds_nothing_loses_nothing() -> None:
    rolled = _roll(_market(100), methods=RELIVE)
    for method in RELIVE:
        assert not rolled.value_at_risk[method][2].any()
        assert rolled.verdict(method, 2, 1).exceptions == 0


def test_progress_is_told_every_hundred_days_and_at_the_end() -> None:
    told: list[tuple[int, int]] = []
    rolling(
        _market(WINDOW + 1 + 230),
        QUANTITY,
        window=WINDOW,
        methods=[Method.HISTORICAL],
        probabilities=[0.05],
        model=MODEL,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(100, 230), (200, 230), (230, 230)]


def test_on_days_that_are_all_alike_coverage_is_what_was_promised() -> None:
    # Thirty independent names, each a portfolio of its own: 30,000 judged days.
    returns = 0.01 * np.random.default_rng(11).standard_normal((1_500, 30))
    closes = np.vstack([np.full(30, 100.0), 100.0 * np.cumprod(1.0 + returns, axis=0)])
    methods = [Method.FILTERED_HISTORICAL, Method.HISTORICAL, Method.NORMAL]
    rolled = rolling(closes, np.eye(30), window=500, methods=methods, probabilities=TAILS, model=MODEL)
    for level, probability in enumerate(TAILS):
        # Of 501 days that are all alike, the last is beyond the sixth worst of the others in 6 of 501 cases.
        for method, promised in (
            (Method.FILTERED_HISTORICAL, (math.floor(500 * probability) + 1) / 501),
            (Method.HISTORICAL, (math.floor(500 * probability) + 1) / 501),
            (Method.NORMAL, probability),
        ):
            rate = np.mean([rolled.verdict(method, portfolio, level).rate for portfolio in range(30)])
            assert rate == pytest.approx(promised, rel=0.1)


# --- what is refused --------------------------------------------------------------------------------------------------


def _refused(closes: FloatArray, quantity: FloatArray = QUANTITY, window: int = WINDOW, tail: float = 0.05) -> str:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - what it says is what each test looks at
        rolling(closes, quantity, window=window, methods=[Method.NORMAL, *RELIVE], probabilities=[tail], model=MODEL)
    return str(refused.value)


def test_a_short_window_is_refused() -> None:
    assert _refused(_market(100), window=59) == "a window of 59 returns: at least 60 are needed to speak of a tail"


def test_too_few_sessions_are_refused() -> None:
    assert _refused(_market(61)) == "61 sessions of closes: a window of 60 needs 62 or more to judge one of them"


@pytest.mark.parametrize("price", [math.nan, 0.0, -1.0, math.inf])
def test_a_close_that_is_no_price_is_refused_and_named(price: float) -> None:
    closes = _market(100)
    closes[41, 2] = price
    assert _refused(closes).startswith(f"the close of session 41, symbol 2 (from 0) is {price}:")


def test_a_quantity_that_is_no_number_is_refused_and_named() -> None:
    quantity = QUANTITY.copy()
    quantity[1, 2] = math.nan
    assert _refused(_market(100), quantity).startswith("portfolio 1 holds nan of symbol 2 (from 0):")


def test_quantities_of_other_symbols_are_refused() -> None:
    assert "give both a column for each symbol" in _refused(_market(100), QUANTITY[:, :2])


def test_a_confidence_in_the_place_of_a_tail_is_refused() -> None:
    assert "tail 95.0 is no probability" in _refused(_market(100), tail=95.0)
