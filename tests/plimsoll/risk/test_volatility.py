"""How volatile each name was thought to be, and its returns at the volatility of now."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plimsoll.risk.arrays import FloatArray
from plimsoll.risk.scenarios import warm_up_sessions
from plimsoll.risk.volatility import VOLATILITY_FLOOR, ewma_volatility, filtered_returns

pytestmark = pytest.mark.filterwarnings("error")

DECAYS = st.floats(0.5, 0.999)
RETURNS = st.integers(2, 120).flatmap(
    lambda sessions: arrays(np.float64, (sessions, 3), elements=st.floats(-0.5, 0.5) | st.just(0.0))
)


def _filtered(returns: FloatArray, decay: float) -> FloatArray:
    volatility = ewma_volatility(returns, decay)
    return filtered_returns(returns, volatility[:-1], volatility[-1])


# --- the forecast -----------------------------------------------------------------------------------------------------


def test_the_recursion_by_hand() -> None:
    returns = np.array([[0.02], [-0.01], [0.03]])
    # It starts from (4 + 1/2 x 1 + 1/4 x 9) / 1.75 = 27/7, in ten-thousandths; then half of what was, half of the
    # newest square: (27/7 + 4) / 2, and so on.
    variance = [27 / 7, 55 / 14, 69 / 28, (69 / 28 + 9) / 2]
    assert ewma_volatility(returns, 0.5)[:, 0] == pytest.approx(np.sqrt(np.array(variance) * 1e-4))


@settings(max_examples=50)
@given(returns=RETURNS, decay=DECAYS)
def test_the_forecast_is_a_mean_of_past_squares_whose_weights_fall_by_the_decay(
    returns: FloatArray, decay: float
) -> None:
    volatility = ewma_volatility(returns, decay)
    sessions = len(returns)
    weight = (1 - decay) * decay ** np.arange(sessions - 1, -1, -1.0)
    unrolled = decay**sessions * volatility[0] ** 2 + weight @ returns**2
    assert volatility[-1] ** 2 == pytest.approx(unrolled, rel=1e-9, abs=1e-30)


@given(returns=RETURNS, decay=DECAYS, cut=st.integers(76, 200))
def test_a_forecast_knows_nothing_of_what_comes_after_it(returns: FloatArray, decay: float, cut: int) -> None:
    history = np.tile(returns, (200 // len(returns) + 1, 1))[:200]
    changed = history.copy()
    changed[cut:] = 0.25
    assert np.array_equal(ewma_volatility(history, decay)[: cut + 1], ewma_volatility(changed, decay)[: cut + 1])


def test_a_session_without_a_return_leaves_the_forecast_alone() -> None:
    rng = np.random.default_rng(3)
    returns = 0.01 * rng.standard_normal((100, 2))
    gaps = np.insert(returns, [20, 50, 50], np.nan, axis=0)
    volatility = ewma_volatility(gaps, 0.94)
    assert np.array_equal(volatility[20], volatility[21])
    assert np.array_equal(volatility[-1], ewma_volatility(returns, 0.94)[-1])


def test_a_name_listed_late_starts_from_its_own_first_returns() -> None:
    rng = np.random.default_rng(4)
    returns = 0.01 * rng.standard_normal((200, 1))
    late = np.concatenate([np.full((60, 1), np.nan), returns])
    assert np.array_equal(ewma_volatility(late, 0.94)[60:], ewma_volatility(returns, 0.94))


def test_a_name_without_returns_has_no_volatility() -> None:
    returns = np.column_stack([np.full(50, np.nan), np.full(50, 0.01)])
    volatility = ewma_volatility(returns, 0.94)
    assert np.isnan(volatility[:, 0]).all()
    assert volatility[:, 1] == pytest.approx(0.01)


@pytest.mark.parametrize(("decay", "sessions"), [(0.94, 447), (0.97, 908), (0.99, 2_750)])
def test_after_the_warm_up_nothing_is_left_of_the_start(decay: float, sessions: int) -> None:
    assert warm_up_sessions(decay) == sessions
    rng = np.random.default_rng(5)
    newest = 0.01 * rng.standard_normal((sessions, 1))
    calm, stormy = (np.concatenate([np.full((100, 1), move), newest]) for move in (0.01, 0.02))
    started_calm, started_stormy = (ewma_volatility(returns, decay)[-1] ** 2 for returns in (calm, stormy))
    assert started_calm == pytest.approx(started_stormy, rel=1e-10)


# --- rescaled to now --------------------------------------------------------------------------------------------------


def test_filtered_returns_by_hand() -> None:
    returns = np.array([[0.02, 0.01], [-0.01, np.nan]])
    volatility, now = np.array([[0.01, 0.02], [0.02, 0.02]]), np.array([0.03, 0.01])
    # The first name is now thrice as volatile as it was then, the second half as much.
    expected = [[0.06, 0.005], [-0.015, np.nan]]
    assert filtered_returns(returns, volatility, now) == pytest.approx(np.array(expected), nan_ok=True)


@settings(max_examples=50)
@given(returns=RETURNS, decay=DECAYS, factor=st.floats(0.01, 100.0))
def test_a_name_that_moves_twice_as_much_is_filtered_to_twice_as_much(
    returns: FloatArray, decay: float, factor: float
) -> None:
    assert _filtered(factor * returns, decay) == pytest.approx(factor * _filtered(returns, decay), rel=1e-6, abs=1e-12)


@settings(max_examples=50)
@given(returns=RETURNS, decay=DECAYS)
def test_what_is_filtered_keeps_its_sign_and_its_company(returns: FloatArray, decay: float) -> None:
    """Name by name: what another name does changes nothing, and a fall stays a fall."""
    filtered = _filtered(returns, decay)
    assert np.array_equal(filtered[:, ::-1], _filtered(returns[:, ::-1], decay))
    assert np.array_equal(filtered[:, :1], _filtered(returns[:, :1], decay))
    assert (filtered * returns >= 0.0).all()
    assert np.isfinite(filtered).all()


@given(move=st.floats(1e-6, 0.5), decay=DECAYS)
def test_a_name_as_volatile_as_ever_is_left_as_it_was(move: float, decay: float) -> None:
    steady = np.tile([move, -move], 60)[:, None]
    assert _filtered(steady, decay) == pytest.approx(steady, rel=1e-9)


def test_a_calm_past_is_lived_through_at_the_storm_of_now() -> None:
    rng = np.random.default_rng(6)
    returns = np.repeat([0.005, 0.03], 250)[:, None] * np.sign(rng.standard_normal((500, 1)))
    filtered = _filtered(returns, 0.94)
    # After a year of three per cent a day, half a per cent is three per cent too.
    assert np.abs(filtered[100:250]) == pytest.approx(0.03, rel=1e-3)
    assert np.abs(filtered[-100:]) == pytest.approx(0.03, rel=1e-3)


def test_a_name_that_never_moved_stays_where_it_is() -> None:
    assert _filtered(np.zeros((100, 1)), 0.94).tolist() == [[0.0]] * 100


def test_the_first_move_after_a_long_sleep_is_rescaled_within_bounds() -> None:
    returns = np.zeros((1_000, 1))
    returns[:100, 0] = np.tile([0.01, -0.01], 50)
    returns[-1, 0] = 0.01
    forecast = ewma_volatility(returns, 0.94)
    assert forecast[-2, 0] < 1e-12
    root = np.sqrt(np.mean(returns**2))
    assert _filtered(returns, 0.94)[-1, 0] == pytest.approx(0.01 * forecast[-1, 0] / (VOLATILITY_FLOOR * root))
