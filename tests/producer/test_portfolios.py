"""An invented firm at real prices: the arithmetic of every portfolio, and the shape of the whole."""

from __future__ import annotations

import time
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.messages import PortfolioUpdate, RiskTolerance, decode_portfolio_update, encode
from producer import closes, portfolios

NOW_NS = time.time_ns()


@cache
def marks() -> dict[str, float]:
    bundled = closes.load()
    return bundled.of(bundled.sessions.index("2020-02-18"))


@cache
def firm(count: int = 1000, advisors: int = 20, seed: int = 7) -> portfolios.Firm:
    return portfolios.Firm(count, advisors, seed, marks())


def assert_it_adds_up(portfolio: PortfolioUpdate, at: dict[str, float]) -> None:
    value = sum(position.quantity * at[position.symbol] for position in portfolio.positions)
    assert portfolio.total_value == pytest.approx(value + portfolio.cash, abs=0.02)
    weights = sum(position.weight for position in portfolio.positions) + 100 * portfolio.cash / portfolio.total_value
    assert weights == pytest.approx(100.0, abs=1e-3)
    assert portfolio.cash >= 0
    for position in portfolio.positions:
        assert position.quantity == round(position.quantity) != 0
        assert position.price == at[position.symbol]
        assert position.market_value == pytest.approx(position.quantity * position.price, abs=0.01)
        assert position.sector == closes.SECTORS[position.symbol]


@given(index=st.integers(0, 999), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_every_portfolio_adds_up_and_stays_within_bounds(index: int, seed: int) -> None:
    portfolio = firm(seed=seed).portfolio(index, NOW_NS / 1e9)
    assert_it_adds_up(portfolio, marks())
    assert portfolios.VALUE_LEAST <= portfolio.total_value <= portfolios.VALUE_MOST
    assert portfolios.POSITIONS_LEAST <= len(portfolio.positions) <= portfolios.POSITIONS_MOST
    assert portfolio.cash <= 0.21 * portfolio.total_value
    assert portfolio.account_type in portfolios.ACCOUNT_TYPES
    assert portfolio.version is None
    gross = sum(abs(position.market_value) for position in portfolio.positions)
    assert gross <= 1.3 * portfolio.total_value


@given(seed=st.integers(0, 2**32 - 1), rounds=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_a_rebalance_keeps_the_value_but_for_what_the_client_pays_in_or_takes_out(seed: int, rounds: int) -> None:
    rng = np.random.default_rng(seed)
    portfolio = firm(seed=seed).portfolio(0)
    for _ in range(rounds):
        before = portfolio
        portfolio = portfolios.rebalance(before, rng, marks(), 1.0)
        assert_it_adds_up(portfolio, marks())
        assert portfolio.total_value == pytest.approx(before.total_value, rel=0.0201)
        assert portfolios.POSITIONS_LEAST <= len(portfolio.positions) <= portfolios.POSITIONS_MOST
        assert (portfolio.id, portfolio.advisor_id) == (before.id, before.advisor_id)


def test_a_rebalance_revalues_what_was_not_traded() -> None:
    higher = {symbol: price * 1.1 for symbol, price in marks().items()}
    before = firm().portfolio(0)
    after = portfolios.rebalance(before, np.random.default_rng(1), higher)
    assert_it_adds_up(after, higher)
    assert after.total_value > before.total_value


def test_most_rebalances_trade() -> None:
    rng = np.random.default_rng(1)
    held = [firm().portfolio(index) for index in range(200)]
    traded = [
        {p.symbol: p.quantity for p in portfolios.rebalance(portfolio, rng, marks()).positions}
        != {p.symbol: p.quantity for p in portfolio.positions}
        for portfolio in held
    ]
    assert sum(traded) > 190


def test_cash_does_not_pile_up_over_a_thousand_rebalances() -> None:
    rng = np.random.default_rng(3)
    portfolio = firm().portfolio(4)
    for _ in range(1000):
        portfolio = portfolios.rebalance(portfolio, rng, marks())
    assert portfolio.cash < 0.2 * portfolio.total_value


@given(seed=st.integers(0, 2**32 - 1), index=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_one_seed_gives_the_same_bytes(seed: int, index: int) -> None:
    first, again = (encode(firm(100, 5, seed).portfolio(index, 1.0)) for _ in range(2))
    assert first == again


def test_what_is_drawn_is_a_valid_message() -> None:
    drawn = [firm().portfolio(index, NOW_NS / 1e9) for index in range(1000)]
    for portfolio in drawn:
        assert decode_portfolio_update(portfolio.id.encode(), encode(portfolio), NOW_NS) == portfolio
    assert len({portfolio.id for portfolio in drawn}) == 1000


def test_ids_are_as_wide_as_the_firm_needs() -> None:
    assert firm().portfolio(0).id == "portfolio-0001"
    assert firm(count=123_456, advisors=1).portfolio(6).id == "portfolio-000007"


@given(count=st.integers(1, 3000), advisors=st.integers(1, 300), seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_no_advisor_is_without_a_portfolio_while_there_are_enough(count: int, advisors: int, seed: int) -> None:
    size = Counter(portfolios._dealt(count, advisors, np.random.default_rng(seed)))
    assert size.total() == count
    assert len(size) == min(count, advisors)
    assert set(size) <= set(range(advisors))


def test_books_are_uneven() -> None:
    size = sorted(Counter(firm().portfolio(index).advisor_id for index in range(1000)).values())
    assert size[-1] > 5 * size[0]


def test_a_few_portfolios_are_short_and_most_have_cash() -> None:
    drawn = [firm().portfolio(index) for index in range(1000)]
    short = sum(any(position.quantity < 0 for position in portfolio.positions) for portfolio in drawn)
    assert 40 <= short <= 120
    assert 750 <= sum(portfolio.cash > 0 for portfolio in drawn) <= 950


def test_a_conservative_client_holds_more_cash_and_less_technology_and_energy() -> None:
    def averages(tolerance: RiskTolerance) -> tuple[float, float]:
        drawn = [p for p in (firm().portfolio(index) for index in range(1000)) if p.risk_tolerance is tolerance]
        daring = [
            sum(p.weight for p in portfolio.positions if p.sector in ("Technology", "Energy")) for portfolio in drawn
        ]
        return float(np.mean([p.cash / p.total_value for p in drawn])), float(np.mean(daring))

    cautious, bold = averages(RiskTolerance.CONSERVATIVE), averages(RiskTolerance.AGGRESSIVE)
    assert cautious[0] > 2 * bold[0]
    assert cautious[1] < bold[1] / 3
