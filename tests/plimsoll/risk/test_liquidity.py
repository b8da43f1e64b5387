"""How long positions take to be sold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.risk.liquidity import liquidity_days

pytestmark = pytest.mark.filterwarnings("error")

QUANTITIES = st.floats(-1e12, 1e12)
VOLUMES = st.floats(1.0, 1e12)
PARTICIPATIONS = st.floats(0.01, 1.0)


def test_liquidity_days_by_hand() -> None:
    # A fifth of 10,000 a day is 2,000: half a day for 1,000 held, and two and a half for 5,000 sold short.
    days = liquidity_days(np.array([1_000.0, -5_000.0]), np.array([10_000.0, 10_000.0]))
    assert days == pytest.approx([0.5, 2.5])
    assert liquidity_days(np.array([1_000.0]), np.array([10_000.0]), participation=1.0) == pytest.approx([0.1])


def test_what_is_not_known_or_does_not_trade_or_is_not_held() -> None:
    quantity = np.array([10.0, -10.0, 10.0, 0.0, 0.0, 0.0, np.nan, np.nan])
    volume = np.array([np.nan, 0.0, 0.0, np.nan, 0.0, 50.0, 50.0, 0.0])
    days = liquidity_days(quantity, volume)
    assert days.tolist()[1:6] == [np.inf, np.inf, 0.0, 0.0, 0.0]
    assert np.isnan(days).tolist() == [True, False, False, False, False, False, True, True]


def test_without_holdings_there_is_nothing_to_wait_for() -> None:
    assert liquidity_days(np.empty(0), np.empty(0)).shape == (0,)


@given(QUANTITIES, VOLUMES, PARTICIPATIONS)
def test_a_short_position_takes_as_long_as_a_long_one(quantity: float, volume: float, participation: float) -> None:
    long, short = liquidity_days(np.array([quantity, -quantity]), np.full(2, volume), participation)
    assert long == short >= 0.0


@given(QUANTITIES, VOLUMES, PARTICIPATIONS)
def test_trading_for_so_many_days_sells_the_position(quantity: float, volume: float, participation: float) -> None:
    days = liquidity_days(np.array([quantity]), np.array([volume]), participation)[0]
    assert days * participation * volume == pytest.approx(abs(quantity))


@given(QUANTITIES, st.tuples(PARTICIPATIONS, PARTICIPATIONS))
def test_more_haste_never_takes_longer(quantity: float, participations: tuple[float, float]) -> None:
    held, volume = np.array([quantity]), np.array([1e6])
    assert liquidity_days(held, volume, max(participations)) <= liquidity_days(held, volume, min(participations))


@pytest.mark.parametrize("participation", [0.0, -0.2, 1.01, 20.0, np.nan, np.inf])
def test_a_participation_that_is_no_part_of_the_volume_is_refused(participation: float) -> None:
    with pytest.raises(ValueError, match="participation"):
        liquidity_days(np.array([1.0]), np.array([1.0]), participation)


def test_a_negative_volume_is_refused() -> None:
    with pytest.raises(ValueError, match="daily volume of -5"):
        liquidity_days(np.array([1.0, 1.0, 1.0]), np.array([np.nan, -5.0, 3.0]))
