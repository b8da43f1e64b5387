"""Keys and channels: the names other programs rely on, and that no two of them meet."""

from __future__ import annotations

import fnmatch
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll import keys

identifiers = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=64)

OF_PORTFOLIOS: list[Callable[[str], str]] = [keys.risk, keys.portfolio, keys.history, keys.backtest]


def test_the_names_by_hand() -> None:
    assert keys.risk("portfolio_123") == "risk:portfolio_123"
    assert keys.portfolio("portfolio_123") == "portfolio:portfolio_123"
    assert keys.history("portfolio_123") == "history:portfolio_123"
    assert keys.backtest("portfolio_123") == "backtest:portfolio_123"
    assert keys.by_risk() == "portfolios:by-risk"
    assert keys.by_risk("advisor-1") == "portfolios:by-risk:advisor-1"
    assert keys.by_id() == "portfolios:by-id"
    assert keys.by_id("advisor-1") == "portfolios:by-id:advisor-1"
    assert keys.advisor_pnl("advisor-1") == "advisor-pnl:advisor-1"
    assert keys.risk_channel("advisor-1") == "risk-updates:advisor-1"
    assert keys.scenario_set("2020-02-19-ab12") == "scenario-set:2020-02-19-ab12"


@pytest.mark.parametrize("key", OF_PORTFOLIOS, ids=lambda key: key.__name__)
@given(one=identifiers, other=identifiers)
def test_two_portfolios_never_share_a_key(key: Callable[[str], str], one: str, other: str) -> None:
    assert (key(one) == key(other)) == (one == other)


@given(one=identifiers, other=identifiers, advisor=identifiers)
def test_what_lives_at_one_key_is_of_one_kind(one: str, other: str, advisor: str) -> None:
    families = [
        {keys.risk(one), keys.risk(other)},
        {keys.portfolio(one), keys.portfolio(other)},
        {keys.history(one), keys.history(other)},
        {keys.backtest(one), keys.backtest(other)},
        {keys.scenario_set(one), keys.scenario_set(other)},
        {keys.by_risk(), keys.by_risk(advisor)},
        {keys.by_id(), keys.by_id(advisor)},
        {keys.advisor_pnl(advisor)},
        {keys.MARKS},
        {keys.CURRENT_SCENARIO_SET},
        {keys.ENGINE},
        {keys.ADVISORS},
        {keys.CLOSED},
    ]
    assert len(set().union(*families)) == sum(map(len, families))


@given(advisor=identifiers)
def test_one_pattern_hears_every_channel(advisor: str) -> None:
    assert fnmatch.fnmatchcase(keys.risk_channel(advisor), keys.ALL_RISK_CHANNELS)
