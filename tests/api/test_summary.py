"""Whole sums that stand while a scenario set comes into force: for how long, and how many."""

from __future__ import annotations

import pytest

from api import summary
from api.aggregates import Aggregate
from api.summary import ROLL_NS, Wholes

NOW_NS = 10**18
WHOLE = Aggregate(2, False, "historical", "2020-01-03-a", NOW_NS, 100, None, None)


def test_a_whole_sum_stands_for_a_while_and_for_those_whose_it_is() -> None:
    wholes = Wholes()
    wholes.keep(["ann", "bob"], WHOLE, NOW_NS)
    assert wholes.find(["ann", "bob"], NOW_NS + ROLL_NS) is WHOLE
    assert wholes.find(["ann", "bob"], NOW_NS + ROLL_NS + 1) is None
    assert wholes.find(["ann"], NOW_NS) is wholes.find(["bob", "ann"], NOW_NS) is None


def test_nothing_stands_when_the_clock_was_set_back() -> None:
    wholes = Wholes()
    wholes.keep(["ann"], WHOLE, NOW_NS)
    assert wholes.find(["ann"], NOW_NS - 1) is None


def test_what_stands_no_more_is_forgotten_and_so_is_the_oldest_beyond_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "WHOLE_MAX", 2)
    wholes = Wholes()
    for name in ("ann", "bob", "eve"):
        wholes.keep([name], WHOLE, NOW_NS)
    assert [name for name in ("ann", "bob", "eve") if wholes.find([name], NOW_NS)] == ["bob", "eve"]
    wholes.keep(["new"], WHOLE, NOW_NS + ROLL_NS + 1)
    assert len(wholes) == 1
