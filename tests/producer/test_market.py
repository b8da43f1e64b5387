"""A replay is made of real closes: it starts at one, ends at the next, and can be computed again."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer import closes, market


@cache
def bundled() -> closes.Closes:
    return closes.load()


def session_number(day: str) -> int:
    return bundled().sessions.index(day)


playable = st.integers(market.Replay.first_playable, 8312)


@settings(max_examples=25, deadline=None)
@given(index=playable, seed=st.integers(0, 2**32 - 1))
def test_every_session_starts_at_the_last_close_and_ends_at_its_own(index: int, seed: int) -> None:
    session = market.Replay(bundled(), seed).session(index)
    every = np.arange(len(session.symbols))
    assert np.array_equal(session.prices(every, np.zeros(len(every))), bundled().matrix[index - 1])
    assert np.array_equal(session.prices(every, np.ones(len(every))), bundled().matrix[index])


@settings(max_examples=25, deadline=None)
@given(index=playable, seed=st.integers(0, 2**32 - 1), fraction=st.floats(0.0, 1.0))
def test_any_tick_can_be_computed_again(index: int, seed: int, fraction: float) -> None:
    every = np.arange(21)
    first = market.Replay(bundled(), seed).session(index).prices(every, np.full(21, fraction))
    again = market.Replay(bundled(), seed).session(index).prices(every, np.full(21, fraction))
    assert np.array_equal(first, again)
    assert (first > 0).all()


def test_another_seed_goes_another_way_to_the_same_close() -> None:
    index = session_number("2020-03-16")
    one, other = (market.Replay(bundled(), seed).session(index) for seed in (7, 8))
    middle = one.price_by_step[:, 1:-1] != other.price_by_step[:, 1:-1]
    assert middle.all()
    assert np.array_equal(one.price_by_step[:, -1], other.price_by_step[:, -1])


def test_a_bridge_is_as_wide_as_its_volatility() -> None:
    rng = np.random.default_rng(1)
    middles = [np.log(market.bridge(100.0, 100.0, 0.02, rng)[market.BRIDGE_STEPS // 2] / 100.0) for _ in range(400)]
    # A Brownian bridge has variance t (1 - t): half the volatility in the middle.
    assert np.std(middles) == pytest.approx(0.01, rel=0.1)


def test_a_bridge_without_volatility_is_the_straight_way() -> None:
    path = market.bridge(100.0, 121.0, 0.0, np.random.default_rng(1))
    assert path[market.BRIDGE_STEPS // 2] == pytest.approx(110.0)


@given(first=st.integers(0, 200), size=st.integers(0, 200))
@settings(max_examples=50, deadline=None)
def test_the_order_of_ticks_does_not_depend_on_how_they_are_batched(first: int, size: int) -> None:
    session = market.Replay(bundled(), 7).session(session_number("2020-02-19"))
    whole = session.order(0, 420)
    assert np.array_equal(session.order(first, first + size), whole[first : first + size])


def test_every_symbol_ticks_once_in_a_round_and_rounds_differ() -> None:
    session = market.Replay(bundled(), 7).session(session_number("2020-02-19"))
    rounds = session.order(0, 21 * 10).reshape(10, 21)
    assert all(sorted(row) == list(range(21)) for row in rounds.tolist())
    assert len({tuple(row) for row in rounds.tolist()}) == 10


def test_the_opinions_are_the_real_trailing_figures_by_hand() -> None:
    index = session_number("2020-02-19")
    window = bundled().matrix[index - 253 : index]
    returns = window[1:] / window[:-1] - 1
    session = market.Replay(bundled(), 7).session(index)
    apple, benchmark = session.opinions[0], session.opinions[-1]
    assert apple.volatility == pytest.approx(returns[:, 0].std(ddof=1) * 252**0.5, abs=1e-6)
    assert apple.expected_return == pytest.approx(returns[:, 0].mean() * 252, abs=1e-6)
    slope = np.polyfit(returns[:, -1], returns[:, 0], 1)[0]
    assert apple.beta == pytest.approx(slope, abs=1e-6)
    assert benchmark.beta == 1.0


def test_the_opinions_do_not_know_the_session_they_are_for() -> None:
    index = session_number("2020-03-16")
    changed = bundled().matrix.copy()
    changed[index:] *= 2.0
    foreseen = closes.Closes(bundled().sessions, bundled().symbols, changed)
    assert market.Replay(foreseen, 7).session(index).opinions == market.Replay(bundled(), 7).session(index).opinions


def test_a_session_without_enough_history_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than 21 returns"):
        market.Replay(bundled(), 7).session(market.Replay.first_playable - 1)
