"""Flags that cannot be meant are refused by name, before any file is read."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from plimsoll.errors import BadSetting
from plimsoll.reports.flags import BacktestTerms, RiskTerms, cash_of, method_of, model_of
from plimsoll.risk.measures import Choice
from plimsoll.risk.methods import Method


def test_cash_is_of_everybody_unless_it_names_somebody() -> None:
    cash = cash_of(["1000", "growth=-5e3", "a=b=7"])
    assert [cash.of(name) for name in ("growth", "income", "a=b")] == [-5000.0, 1000.0, 7.0]
    assert cash_of([]).of("income") == 0.0


@pytest.mark.parametrize(
    ("flag", "made"),
    [
        ("--cash", lambda: cash_of(["much"])),
        ("--cash", lambda: cash_of(["growth=inf"])),
        ("--cash", lambda: cash_of(["growth=-1e300"])),
        ("--cash", lambda: cash_of(["=5"])),
        ("--cash", lambda: cash_of(["5", "6"])),
        ("--cash", lambda: cash_of(["a=5", "a=6"])),
        ("--lambda", lambda: model_of(decay=1.0)),
        ("--decay", lambda: model_of(age_decay=math.nan)),
        ("--draws", lambda: model_of(draws=3)),
        ("--degrees-of-freedom", lambda: model_of(degrees_of_freedom=2.0)),
        ("--window", lambda: RiskTerms(window=59)),
        ("--as-of", lambda: RiskTerms(as_of="19.02.2020")),
        ("--risk-free", lambda: RiskTerms(choice=Choice(risk_free=math.inf))),
        ("--from", lambda: BacktestTerms(first="2020-13-01")),
        ("--to", lambda: BacktestTerms(last="today")),
        ("--from", lambda: BacktestTerms(first="2020-02-01", last="2020-01-01")),
    ],
)
def test_a_flag_that_cannot_be_meant_is_named(flag: str, made: Callable[[], object]) -> None:
    with pytest.raises(BadSetting) as raised:
        made()
    assert raised.value.key == flag


def test_infinitely_many_degrees_of_freedom_are_the_normal_law() -> None:
    assert model_of(degrees_of_freedom=math.inf).degrees_of_freedom == math.inf


def test_a_method_is_known_by_its_name_and_an_unknown_one_is_told_all_names() -> None:
    assert [method_of(each.value) for each in Method] == list(Method)
    with pytest.raises(BadSetting, match=r"^--method: 'guess' is none of filtered_historical, .*, monte_carlo$"):
        method_of("guess")
