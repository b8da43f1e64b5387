from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import BadInput
from api.updates import (
    SAMPLE,
    Simulation,
    after_trades,
    checked,
    rebalanced,
    require_trades,
    shocked,
    simulated,
    update_of,
    value_of,
)
from plimsoll.messages import Mark, PortfolioUpdate, Position, RiskTolerance, decode_portfolio_update

if TYPE_CHECKING:
    from tests.api.conftest import Make

NOW_NS = 1_700_000_000_000_000_000
symbols = st.from_regex(r"[A-Z]{1,5}", fullmatch=True)
quantities = st.floats(-1e6, 1e6).filter(lambda quantity: abs(quantity) >= 0.01)
positions = st.dictionaries(symbols, quantities, min_size=1, max_size=8).map(
    lambda held: [Position(symbol, quantity) for symbol, quantity in held.items()]
)


@given(positions, st.integers())
def test_a_seed_draws_the_same_rebalance_whatever_the_order(held: list[Position], seed: int) -> None:
    def by_symbol(moved: list[Position]) -> dict[str, float]:
        return {position.symbol: position.quantity for position in moved}

    once = rebalanced(held, seed)
    assert once == rebalanced(held, seed)
    if len([p for p, q in zip(held, once, strict=True) if p != q]) > 1:
        assert by_symbol(rebalanced(held[::-1], seed)) == by_symbol(once)


@given(positions, st.integers())
def test_a_rebalance_changes_something_and_turns_nothing_around(held: list[Position], seed: int) -> None:
    moved = rebalanced(held, seed)
    assert moved != held
    for before, after in zip(held, moved, strict=True):
        assert after.symbol == before.symbol
        assert math.copysign(1, after.quantity) == math.copysign(1, before.quantity)
        assert after.quantity != 0


@given(positions, st.dictionaries(symbols, quantities, max_size=4))
def test_trades_and_their_opposites_restore_the_positions(held: list[Position], trades: dict[str, float]) -> None:
    there = after_trades(held, trades)
    back = after_trades(there, {symbol: -quantity for symbol, quantity in trades.items()})
    before = {position.symbol: position.quantity for position in held}
    after = {position.symbol: position.quantity for position in back}
    for symbol in before.keys() | after.keys():
        assert after.get(symbol, 0.0) == pytest.approx(before.get(symbol, 0.0), abs=1e-6)


def test_what_comes_to_nothing_is_held_no_more() -> None:
    held = [Position("AAPL", 10.0, sector="Technology"), Position("MSFT", 5.0)]
    assert after_trades(held, {"AAPL": -10.0, "TSLA": -3.0}) == [Position("MSFT", 5.0), Position("TSLA", -3.0)]


def test_an_unknown_portfolio_becomes_the_sample() -> None:
    update = simulated(None, Simulation("new"), seed=1, now_ns=NOW_NS)
    assert (update.id, update.advisor_id, update.risk_tolerance) == ("new", "advisor-1", RiskTolerance.MODERATE)
    assert update.positions == list(SAMPLE)
    assert value_of(update, {}) == 51_243.75
    assert value_of(update, {"AAPL": Mark(200.0, 0)}) == 51_243.75 + 100 * 14.5


def test_trades_apply_to_the_sample_too() -> None:
    update = simulated(None, Simulation("new", {"AAPL": -100.0, "KO": 1.0}), seed=1, now_ns=NOW_NS)
    assert [(p.symbol, p.quantity) for p in update.positions] == [("MSFT", 50.0), ("JNJ", 75.0), ("KO", 1.0)]


def test_a_known_portfolio_keeps_what_is_not_stated(make: Make) -> None:
    present = update_of(make.record(version=4))
    update = simulated(present, Simulation("p-1", {}, risk_tolerance=RiskTolerance.AGGRESSIVE), 1, NOW_NS)
    assert (update.advisor_id, update.client_id, update.account_type) == ("advisor-1", "client-1", "IRA")
    assert (update.cash, update.version, update.risk_tolerance) == (1_000.0, 5, RiskTolerance.AGGRESSIVE)
    assert update.positions[0] == Position("AAPL", 100.0, sector="Technology")


@pytest.mark.parametrize("quantity", [math.nan, math.inf, -math.inf, 1.1e12])
def test_a_trade_that_is_no_number_is_refused(quantity: float) -> None:
    with pytest.raises(BadInput, match="quantity"):
        require_trades({"AAPL": quantity})


@pytest.mark.parametrize(
    ("update", "field"),
    [
        (PortfolioUpdate("p 1", "a", []), "id"),
        (PortfolioUpdate("p", "a", [Position("A\n", 1.0)]), "positions[0].symbol"),
        (PortfolioUpdate("p", "a", [Position("A", 1.0), Position("A", 2.0)]), "positions[1].symbol"),
        (PortfolioUpdate("p", "a", [Position("A", math.nan)]), "positions[0].quantity"),
        (PortfolioUpdate("p", "a", [], currency="EUR"), "currency"),
        (PortfolioUpdate("p", "a", [], cash=math.inf), "cash"),
        (PortfolioUpdate("p", "a", [], account_type="x" * 65), "account_type"),
    ],
)
def test_what_no_reader_of_the_topic_would_take_is_refused_before_it_is_sent(
    update: PortfolioUpdate, field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        checked(update, NOW_NS)
    assert refused.value.field == field


@given(positions)
def test_what_is_checked_reads_back_as_it_was(held: list[Position]) -> None:
    update = PortfolioUpdate("p", "a", held, timestamp=NOW_NS / 1e9)
    assert decode_portfolio_update(b"p", checked(update, NOW_NS), NOW_NS) == update


def test_a_shock_moves_the_mark_and_says_where_it_came_from() -> None:
    (tick,) = shocked(
        {"AAPL": Mark(200.0, 5, volatility=0.3, beta=1.2, session="2020-02-19", session_seconds=5.0)}, -0.25, NOW_NS
    )
    assert (tick.symbol, tick.price, tick.source) == ("AAPL", 150.0, "shock")
    assert (tick.volatility, tick.beta) == (0.3, 1.2)
    # A shock in the middle of a replay does not end it.
    assert (tick.session, tick.session_seconds) == ("2020-02-19", 5.0)


def test_a_shock_into_the_absurd_is_refused() -> None:
    with pytest.raises(BadInput, match="AAPL"):
        shocked({"AAPL": Mark(9e8, 0)}, 1.0, NOW_NS)
